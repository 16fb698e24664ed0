"""The operator's roles: all that it does is allowed, and all that is allowed it does."""

import asyncio
import json
import os
from contextlib import suppress

import pytest

from chrek_operator.rbac import CLUSTER, OWN_NAMESPACE
from chrek_operator.running import run_operator
from chrek_operator.settings import Settings, Webhook
from kubectl_chrek.api import names
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import (
    CHECKPOINTS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    GRAPHS,
    JOBS,
    LEASES,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    POLICIES,
    SECRETS,
    VALIDATING_WEBHOOKS,
)
from kubectl_chrek.local.apiserver import ApiServer
from kubectl_chrek.local.apiserver.paths import parse

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif("CHREK_TEST_KUBECONFIG" in os.environ, reason="the requests are recorded in the embedded API server"),
]

TEAM, OWN = "team", "chrek-system"
HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
IMAGE = "registry.invalid/worker:1"


KINDS = {"application/merge-patch+json": "merge", "application/json-patch+json": "json", "application/apply-patch+yaml": "apply"}


class Requests(set):
    """(namespace, group, resource, verb, name) of each, and the patches that nothing guards."""

    def __init__(self):
        super().__init__()
        self.unguarded = []


@pytest.fixture
async def recorded(tmp_path, monkeypatch, is_guarded):
    """A server that notes what the operator asks for."""
    requests = Requests()
    handle = ApiServer._handle

    async def note(self, request):
        place = parse(request.path)
        if place is not None and "pretty" not in request.query:
            resource = place.plural + (f"/{place.subresource}" if place.subresource else "")
            verb = VERBS.get(request.method) or ("get" if place.name else "watch" if "watch" in request.query else "list")
            requests.add((place.namespace, place.group, resource, verb, place.name))
            if verb == "patch":
                body, kind = json.loads(await request.read()), KINDS[request.content_type]
                if not is_guarded(body, subresource=place.subresource, kind=kind):
                    requests.unguarded.append((resource, body))
        return await handle(self, request)

    monkeypatch.setattr(ApiServer, "_handle", note)
    async with ApiServer.start(tmp_path, load_crds()) as server:
        path = str(server.kubeconfig)
        async with Cluster.connect(kubeconfig=path) as cluster, Outsider.connect(kubeconfig=path) as outsider:
            yield cluster, outsider, requests


class Outsider(Cluster):
    """Whoever else uses the cluster: a parameter without effect tells its requests from the operator's."""

    async def _open(self, method, path, body=None, *, query=None, **options):
        return await super()._open(method, path, body, query={**(query or {}), "pretty": "true"}, **options)


def service(**fields):
    main = {"image": IMAGE, "args": ["python3 -m dynamo.vllm"]}
    return {"replicas": 0, "extraPodSpec": {"mainContainer": main}} | fields


def kinded(resource, name, spec, **metadata):
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name, **metadata}, "spec": spec}


async def until(look, *, seconds=30):
    """Waits until `look` finds something, and returns that."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(NotFoundError):
                found = await look()
                if found:
                    return found
            await asyncio.sleep(0.02)


async def phase(tester, name, wanted):
    async def look():
        return (await tester.get(CHECKPOINTS, name, TEAM)).get("status", {}).get("phase") == wanted

    await until(look)


async def gone(tester, resource, name):
    async def look():
        return name not in {body["metadata"]["name"] for body in await tester.list(resource, TEAM)}

    await until(look)


@pytest.fixture
def mode():
    return "own"


@pytest.fixture
async def operator(recorded, mode):
    cluster, tester, _ = recorded
    for name in (TEAM, OWN):
        await tester.create(NAMESPACES, {"metadata": {"name": name}})
    await tester.create(CLUSTER_ROLES, {"metadata": {"name": names.OPERATOR}, "rules": [rule.to_policy() for rule in CLUSTER]})
    stop = asyncio.Event()
    webhook = Webhook(namespace=OWN, url="https://127.0.0.1", address="127.0.0.1", port=0)
    settings = Settings(mode=mode, poll=0.2, lease_namespace=OWN, lease_seconds=1.0, webhook=webhook)
    task = asyncio.create_task(run_operator(cluster, settings, stop))
    await until(lambda: tester.get(VALIDATING_WEBHOOKS, names.OPERATOR))
    yield tester
    stop.set()
    await task


async def all_flows(tester):
    """Everything that the operator does."""
    spec = {
        "pvcs": [{"name": "cache", "create": True, "size": "1Gi"}],
        "services": {
            "W": service(checkpoint={"enabled": True, "identity": IDENTITY}, volumeMounts=[{"name": "cache", "mountPoint": "/c"}]),
            "V": service(checkpoint={"enabled": True, "startupPolicy": "WaitForCheckpoint", "identity": IDENTITY | {"model": "v"}}),
        },
    }
    await tester.create(GRAPHS, kinded(GRAPHS, "g", spec), TEAM)
    await phase(tester, HASH, "Creating")
    await until(lambda: tester.get(DEPLOYMENTS, "g-w", TEAM))
    artifact = {"status": {"artifact": {"generation": "g1", "bytes": 1, "files": 1}}}
    await tester.patch(CHECKPOINTS, HASH, artifact, TEAM, subresource="status")
    await phase(tester, HASH, "Ready")
    await a_held_service(tester)
    await a_pod(tester)
    await a_retry(tester)
    # A graph that changes, and one service less.
    env = [{"name": "A", "value": "1"}]
    await tester.patch(GRAPHS, "g", {"spec": {"services": {"W": {"envs": env}, "V": None}}}, TEAM)
    await gone(tester, DEPLOYMENTS, "g-v")
    await tester.delete(GRAPHS, "g", TEAM)
    await gone(tester, DEPLOYMENTS, "g-w")
    await tester.create(POLICIES, kinded(POLICIES, "p", {"unreferenced": True, "gracePeriod": "0s"}), TEAM)
    await until(lambda: deleting(tester))


async def deleting(tester):
    return (await tester.get(CHECKPOINTS, HASH, TEAM))["metadata"].get("deletionTimestamp")


async def a_held_service(tester):
    """A service that waits with the pods it has."""
    name = next(c["metadata"]["name"] for c in await tester.list(CHECKPOINTS, TEAM) if c["spec"]["identity"]["model"] == "v")
    await phase(tester, name, "Creating")
    artifact = {"status": {"artifact": {"generation": "g2", "bytes": 1, "files": 1}}}
    await tester.patch(CHECKPOINTS, name, artifact, TEAM, subresource="status")
    await until(lambda: tester.get(DEPLOYMENTS, "g-v", TEAM))
    changed = {"replicas": 2, "checkpoint": {"identity": {"model": "w"}}}
    await tester.patch(GRAPHS, "g", {"spec": {"services": {"V": changed}}}, TEAM)

    async def scaled():
        return (await tester.get(DEPLOYMENTS, "g-v", TEAM))["spec"]["replicas"] == 2

    await until(scaled)


async def a_pod(tester):
    """A pod that asks for a checkpoint, while the shim is out of date."""
    await tester.patch(CONFIG_MAPS, names.SHIM_CONFIG_MAP, {"binaryData": {names.SHIM_FILE: "b2xk"}}, TEAM)
    annotations = {names.ANNOTATION_RESTORE_FROM: HASH}
    spec = {"containers": [{"name": "main", "image": IMAGE, "command": ["serve"]}]}
    made = await tester.create(PODS, kinded(PODS, "standalone", spec, annotations=annotations), TEAM)
    assert made["metadata"]["labels"][names.LABEL_RESTORE] == "true"
    await tester.delete(PODS, "standalone", TEAM)


async def a_retry(tester):
    """A Job that failed, is deleted, and tried again."""
    worker = {"name": "main", "image": IMAGE, "command": ["serve"]}
    spec = {"identity": IDENTITY | {"model": "r"}, "job": {"podTemplateSpec": {"spec": {"containers": [worker]}}}}
    await tester.create(CHECKPOINTS, kinded(CHECKPOINTS, "r", spec), TEAM)
    await phase(tester, "r", "Creating")
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": "2026-01-29T10:00:00Z"}
    await tester.patch(JOBS, "checkpoint-r", {"status": {"conditions": [failed]}}, TEAM, subresource="status")
    await phase(tester, "r", "Failed")
    await tester.patch(CHECKPOINTS, "r", {"metadata": {"annotations": {names.ANNOTATION_RETRY: "1"}}}, TEAM)
    await phase(tester, "r", "Creating")
    await tester.delete(CHECKPOINTS, "r", TEAM)
    await gone(tester, CHECKPOINTS, "r")


async def the_webhooks_repaired(tester, cluster):
    """What a later operator finds: an old certificate, and a configuration that somebody has changed."""
    from chrek_operator.admission.keeping import keep_certificate
    from chrek_operator.admission.registration import configurations, register
    from chrek_operator.reconciler import utc_now

    webhook = Webhook(namespace=OWN, url="https://127.0.0.2")
    pair = await keep_certificate(cluster, OWN, webhook.hosts, utc_now())
    await register(cluster, configurations(Settings(), webhook, pair.authorities))
    owner = (await tester.get(MUTATING_WEBHOOKS, names.OPERATOR))["metadata"]["ownerReferences"]
    assert [(each["kind"], each["name"]) for each in owner] == [("ClusterRole", names.OPERATOR)]


async def a_graph_of_the_platform(tester):
    """A service whose pods wait for their checkpoint."""
    block = {"enabled": True, "identity": IDENTITY, "startupPolicy": "WaitForCheckpoint"}
    await tester.create(GRAPHS, kinded(GRAPHS, "g", {"services": {"W": service(checkpoint=block)}}), TEAM)
    labels = {names.LABEL_GRAPH: "g", names.LABEL_COMPONENT: "W"}
    worker = {"name": "main", "image": IMAGE, "command": ["/bin/sh", "-c"], "args": ["python3 -m dynamo.vllm"]}
    made = await tester.create(PODS, kinded(PODS, "w", {"containers": [worker]}, labels=labels), TEAM)
    assert made["spec"]["schedulingGates"] == [{"name": names.SCHEDULING_GATE}]
    await phase(tester, HASH, "Creating")
    artifact = {"status": {"artifact": {"generation": "g1", "bytes": 1, "files": 1}}}
    await tester.patch(CHECKPOINTS, HASH, artifact, TEAM, subresource="status")

    async def told():
        lifted = not (await tester.get(PODS, "w", TEAM))["spec"].get("schedulingGates")
        return lifted and (await tester.get(GRAPHS, "g", TEAM)).get("status", {}).get("checkpoints", {})["W"]["ready"]

    await until(told)


def judge(requests, mode):
    """Which rights were used, and which requests had none."""
    used, missing = set(), set()
    for request in requests:
        granting = [grant for grant in grants(mode) if allows(grant, request)]
        used.update(granting[:1])
        if not granting:
            missing.add(request)
    return used, missing


async def test_every_right_is_used_and_none_is_missing(operator, recorded):
    cluster, tester, requests = recorded
    await all_flows(tester)
    await the_webhooks_repaired(tester, cluster)
    assert (await tester.get(LEASES, names.OPERATOR, OWN))["spec"]["holderIdentity"]
    assert (await tester.get(SECRETS, names.WEBHOOK_SECRET, OWN))["data"]
    used, missing = judge(requests, "own")
    assert missing == set()
    assert {grant for grant in grants("own") if grant not in used} == set()
    assert requests.unguarded == []


@pytest.mark.parametrize("mode", ["integrate"])
async def test_what_is_allowed_beside_the_platform_is_used_and_enough(operator, recorded):
    _, tester, requests = recorded
    await a_graph_of_the_platform(tester)
    used, missing = judge(requests, "integrate")
    assert missing == set()
    assert {grant for grant in grants("integrate") if grant[1].mode and grant not in used} == set()
    assert requests.unguarded == []


def grants(mode):
    """(scope, rule, verb) one by one; those of names come first, so that a request is put down to the narrowest."""
    rules = (("cluster", rule) for rule in CLUSTER if rule.mode in (None, mode))
    scoped = [*rules, *(("own", rule) for rule in OWN_NAMESPACE)]
    narrow = sorted(scoped, key=lambda pair: not pair[1].only)
    return [(scope, rule, verb) for scope, rule in narrow for verb in rule.verbs]


def allows(grant, request):
    scope, rule, wanted = grant
    namespace, group, resource, verb, name = request
    here = scope == "cluster" or namespace == OWN
    return here and (group, resource, verb) == (rule.group, rule.resource, wanted) and (not rule.only or name in rule.only)


def test_there_is_no_wildcard():
    for rule in (*CLUSTER, *OWN_NAMESPACE):
        assert "*" not in f"{rule.group}{rule.resource}{rule.verbs}{rule.only}"
        assert set(rule.to_policy()) <= {"apiGroups", "resources", "verbs", "resourceNames"}
