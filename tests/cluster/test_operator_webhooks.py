"""The operator's webhooks as an API server calls them."""

import asyncio
import json
from contextlib import suppress

import pytest

from chrek_operator.running import run_operator
from chrek_operator.settings import Settings, Webhook
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, NotFoundError, UsageError
from kubectl_chrek.cluster import Resource
from kubectl_chrek.cluster.resources import (
    CHECKPOINTS,
    CONFIG_MAPS,
    GRAPHS,
    JOBS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    POLICIES,
    SECRETS,
    VALIDATING_WEBHOOKS,
)

pytestmark = pytest.mark.cluster

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
IMAGE = "registry.invalid/worker:1"
STATEFUL_SETS = Resource("apps/v1", "StatefulSet", "statefulsets")


def checkpoint(name=HASH, **container):
    worker = {"name": "main", "image": IMAGE, "command": ["python3", "-m", "dynamo.vllm"], **container}
    spec = {"identity": IDENTITY, "job": {"podTemplateSpec": {"spec": {"containers": [worker]}}}}
    return kinded(CHECKPOINTS, name, spec)


def kinded(resource, name, spec):
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}


def pod(name, reference=None, labels=None, **container):
    worker = {"name": "main", "image": IMAGE, "command": ["serve"], "args": ["--x"], **container}
    annotations = {names.ANNOTATION_RESTORE_FROM: reference} if reference else {}
    # Nobody is to start it.
    return {
        "metadata": {"name": name, "annotations": annotations, "labels": labels or {}},
        "spec": {"containers": [worker], "schedulerName": "nobody", "automountServiceAccountToken": False},
    }


BROKEN_SERVICE = {
    "extraPodSpec": {"mainContainer": {"image": IMAGE, "args": ["--x"]}},
    "checkpoint": {"enabled": True, "identity": IDENTITY},
}


@pytest.fixture(params=["own"])
def mode(request):
    return request.param


@pytest.fixture
async def operator(cluster, namespace, mode):
    """The operator with webhooks, in this process."""
    stop = asyncio.Event()
    webhook = Webhook(namespace=namespace, url="https://127.0.0.1", address="127.0.0.1", port=0)
    settings = Settings(namespaces=(namespace,), mode=mode, poll=0.5, resync=2.0, webhook=webhook)
    with suppress(NotFoundError):
        await cluster.delete(MUTATING_WEBHOOKS, names.OPERATOR)
    with suppress(NotFoundError):
        await cluster.delete(VALIDATING_WEBHOOKS, names.OPERATOR)
    task = asyncio.create_task(run_operator(cluster, settings, stop))
    await webhooks_answer(cluster, namespace)
    yield task
    stop.set()
    await task
    await cluster.delete(MUTATING_WEBHOOKS, names.OPERATOR)
    await cluster.delete(VALIDATING_WEBHOOKS, names.OPERATOR)
    for left in await cluster.list(CHECKPOINTS, namespace):
        await cluster.patch(CHECKPOINTS, left["metadata"]["name"], {"metadata": {"finalizers": None}}, namespace)


async def webhooks_answer(cluster, namespace):
    """A real API server takes a moment to learn of a configuration."""
    async with asyncio.timeout(30):
        while True:
            probe = await cluster.create(PODS, pod("probe", "nothing"), namespace, dry_run=True)
            refused = False
            try:
                await cluster.create(POLICIES, kinded(POLICIES, "probe", {}), namespace, dry_run=True)
            except UsageError:
                refused = True
            if refused and names.ANNOTATION_UNTOUCHED in probe["metadata"]["annotations"]:
                return
            await asyncio.sleep(0.05)


async def test_an_annotated_pod_gets_the_shim_and_keeps_what_its_user_wrote(operator, cluster, namespace):
    await cluster.create(CHECKPOINTS, checkpoint(), namespace)
    liveness = {"httpGet": {"path": "/live", "port": 8000}, "periodSeconds": 10}
    security = {"runAsNonRoot": True, "runAsUser": 1000, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    wanted = pod("worker", HASH, livenessProbe=liveness, securityContext=security)
    made = await cluster.create(PODS, wanted, namespace)
    worker = made["spec"]["containers"][0]
    assert worker["command"] == ["python3", "/chrek/chrek_worker.pyz", "--", "serve", "--x"]
    assert "args" not in worker
    assert worker["securityContext"] == security
    assert worker["livenessProbe"]["httpGet"]["path"] == worker["startupProbe"]["httpGet"]["path"] == "/live"
    assert worker["startupProbe"]["failureThreshold"] == 660
    assert made["metadata"]["labels"] == {names.LABEL_NAME: HASH, names.LABEL_HASH: HASH, names.LABEL_RESTORE: "true"}
    assert names.SHIM_FILE in (await cluster.get(CONFIG_MAPS, names.SHIM_CONFIG_MAP, namespace))["binaryData"]
    assert "hostPath" not in json.dumps(made)


async def test_pods_pass_the_restricted_level_when_their_users_do(operator, cluster, namespace):
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.patch(Resource("v1", "Namespace", "namespaces", namespaced=False), namespace, {"metadata": {"labels": enforced}})
    await cluster.create(CHECKPOINTS, checkpoint(), namespace)
    security = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    made = await cluster.create(PODS, pod("worker", HASH, securityContext=security), namespace)
    assert made["metadata"]["labels"][names.LABEL_RESTORE] == "true"


@pytest.mark.parametrize(
    ("reference", "container", "why"),
    [
        ("no-such-one", {}, "there is no DynamoCheckpoint with name or hash no-such-one"),
        ("by-name", {"command": None, "args": ["--y"]}, "the image's own entrypoint cannot be wrapped"),
    ],
)
async def test_a_pod_that_cannot_be_restored_starts_as_it_is_and_says_why(operator, cluster, namespace, reference, container, why):
    await cluster.create(CHECKPOINTS, checkpoint("by-name"), namespace)
    wanted = pod("worker", reference, **container)
    made = await cluster.create(PODS, wanted, namespace)
    assert why in made["metadata"]["annotations"][names.ANNOTATION_UNTOUCHED]
    assert made["spec"]["containers"][0].get("command") == wanted["spec"]["containers"][0]["command"]
    assert "labels" not in made["metadata"]


async def test_an_image_entrypoint_is_replaced_by_what_was_captured(operator, cluster, namespace):
    await cluster.create(CHECKPOINTS, checkpoint("by-name"), namespace)
    made = await cluster.create(PODS, pod("worker", "by-name", command=None, args=None), namespace)
    assert made["spec"]["containers"][0]["command"][3:] == ["python3", "-m", "dynamo.vllm"]


async def test_a_checkpoint_is_found_by_its_hash_too(operator, cluster, namespace, until_labelled):
    await cluster.create(CHECKPOINTS, checkpoint("by-name"), namespace)
    await until_labelled("by-name")
    made = await cluster.create(PODS, pod("worker", HASH), namespace)
    assert made["metadata"]["labels"][names.LABEL_NAME] == "by-name"


@pytest.fixture
def until_labelled(cluster, namespace):
    async def wait(name):
        async with asyncio.timeout(30):
            while names.LABEL_HASH not in ((await cluster.get(CHECKPOINTS, name, namespace))["metadata"].get("labels") or {}):
                await asyncio.sleep(0.02)

    return wait


def platform_graph(**block):
    block = {"enabled": True, "mode": "auto", "identity": IDENTITY, **block}
    main = {"image": IMAGE, "args": ["python3 -m dynamo.vllm"]}
    services = {"VllmWorker": {"extraPodSpec": {"mainContainer": main}, "checkpoint": block}, "Frontend": {}}
    return kinded(GRAPHS, "my-llm", {"services": services})


def platform_pod(name, component="VllmWorker"):
    """What the platform makes of a service: more than the graph says."""
    labels = {names.LABEL_GRAPH: "my-llm", names.LABEL_COMPONENT: component}
    env = [{"name": "VLLM_PORT", "value": "5000"}]
    wrapped = ["exec python3 -m dynamo.vllm --wrapped"]
    return pod(name, labels=labels, command=["/bin/sh", "-c"], args=wrapped, env=env)


def held(body):
    return names.SCHEDULING_GATE in {gate["name"] for gate in body["spec"].get("schedulingGates") or ()}


async def until(look):
    async with asyncio.timeout(30):
        while True:
            with suppress(NotFoundError):
                found = await look()
                if found:
                    return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", ["integrate"], indirect=True)
async def test_the_platforms_first_pod_gets_the_shim_and_is_what_is_captured(operator, cluster, namespace):
    await cluster.create(GRAPHS, platform_graph(), namespace)
    frontend = await cluster.create(PODS, platform_pod("frontend", "Frontend"), namespace)
    assert frontend["spec"]["containers"][0]["command"] == ["/bin/sh", "-c"]
    assert names.ANNOTATION_UNTOUCHED not in (frontend["metadata"].get("annotations") or {})
    worker = await cluster.create(PODS, platform_pod("worker"), namespace)
    assert worker["metadata"]["labels"][names.LABEL_HASH] == HASH
    assert not held(worker)
    job = await until(lambda: cluster.get(JOBS, f"checkpoint-{HASH}", namespace))
    source, target = job["spec"]["template"]["spec"]["containers"][0], worker["spec"]["containers"][0]
    assert source["command"] == target["command"]
    assert source["command"][-1] == "exec python3 -m dynamo.vllm --wrapped"
    assert {"name": "VLLM_PORT", "value": "5000"} in source["env"]
    assert names.LABEL_GRAPH not in job["spec"]["template"]["metadata"]["labels"]

    async def status():
        return ((await cluster.get(GRAPHS, "my-llm", namespace)).get("status") or {}).get("checkpoints")

    assert await until(status) == {"VllmWorker": {"checkpointName": HASH, "identityHash": HASH, "ready": False}}


@pytest.mark.parametrize("mode", ["integrate"], indirect=True)
async def test_a_pod_whose_graph_went_unseen_is_let_go(operator, cluster, namespace):
    orphan = platform_pod("orphan")
    orphan["spec"]["schedulingGates"] = [{"name": names.SCHEDULING_GATE}]
    orphan["metadata"]["labels"][names.LABEL_RESTORE] = "true"
    await cluster.create(PODS, orphan, namespace)

    async def free():
        return not held(await cluster.get(PODS, "orphan", namespace))

    await until(free)


@pytest.mark.parametrize("mode", ["integrate"], indirect=True)
@pytest.mark.parametrize("end", ["Ready", "Failed", "the graph is deleted", "the graph waits no more"])
async def test_a_waiting_pod_takes_no_node_until_its_checkpoint_is_decided(operator, cluster, namespace, end):
    await cluster.create(GRAPHS, platform_graph(startupPolicy="WaitForCheckpoint"), namespace)
    assert held(await cluster.create(PODS, platform_pod("worker"), namespace))

    async def creating():
        return (await cluster.get(CHECKPOINTS, HASH, namespace)).get("status", {}).get("phase") == "Creating"

    await until(creating)
    assert held(await cluster.get(PODS, "worker", namespace))
    if end == "Ready":
        artifact = {"status": {"artifact": {"generation": "g", "bytes": 1, "files": 1}}}
        await cluster.patch(CHECKPOINTS, HASH, artifact, namespace, subresource="status")
    elif end == "Failed":
        await cluster.patch(CHECKPOINTS, HASH, {"status": {"phase": "Failed"}}, namespace, subresource="status")
    elif end == "the graph is deleted":
        await cluster.delete(GRAPHS, "my-llm", namespace)
    else:
        block = {"spec": {"services": {"VllmWorker": {"checkpoint": {"startupPolicy": "Immediate"}}}}}
        await cluster.patch(GRAPHS, "my-llm", block, namespace)

    async def free():
        return not held(await cluster.get(PODS, "worker", namespace))

    await until(free)


async def test_no_reference_leads_to_another_namespace(operator, cluster, namespace):
    """A name is part of a path: with `..` in it, it would be another path, read with the operator's rights."""
    other = f"{namespace}-other"
    await cluster.create(NAMESPACES, {"metadata": {"name": other}})
    try:
        secret = checkpoint(command=["serve", "--token=theirs"])
        await cluster.create(CHECKPOINTS, secret, other)
        reference = f"../../{other}/dynamocheckpoints/{HASH}"
        made = await cluster.create(PODS, pod("worker", reference, command=None, args=None), namespace)
        assert "theirs" not in json.dumps(made)
        assert "cannot be the name of a DynamoCheckpoint" in made["metadata"]["annotations"][names.ANNOTATION_UNTOUCHED]
    finally:
        await cluster.delete(NAMESPACES, other)


@pytest.mark.parametrize(
    ("resource", "body", "why"),
    [
        (CHECKPOINTS, checkpoint(command=None), "the image's own entrypoint cannot be wrapped"),
        (CHECKPOINTS, checkpoint(image=None), "spec.job.podTemplateSpec.spec.containers[0].image: is required"),
        (CHECKPOINTS, checkpoint("x" * 60), "name the DynamoCheckpoint with at most 52 characters"),
        (
            GRAPHS,
            kinded(GRAPHS, "g", {"services": {"W": BROKEN_SERVICE}}),
            "the image's own entrypoint cannot be wrapped",
        ),
        (POLICIES, kinded(POLICIES, "p", {"maxBytes": "1Gi", "lowBytes": "2Gi"}), "spec.lowBytes: must not be above"),
        (POLICIES, kinded(POLICIES, "p", {"olderThan": "soon"}), "spec.olderThan: invalid duration 'soon'"),
    ],
)
async def test_what_cannot_work_is_refused_with_the_reason(operator, cluster, namespace, resource, body, why):
    with pytest.raises(UsageError) as refused:
        await cluster.create(resource, body, namespace, dry_run=True)
    assert why in str(refused.value)
    assert 'admission webhook "objects.chrek.nvidia.com" denied the request' in str(refused.value)


async def test_kubectl_shows_the_warnings(operator, cluster, namespace, kubectl):
    shown = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(checkpoint("e5962d34ba272638")), check=True)
    assert f"Warning: the identity's hash is {HASH}, not e5962d34ba272638" in shown.stderr
    await cluster.create(CHECKPOINTS, checkpoint("first"), namespace)
    shown = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(checkpoint("second")))
    assert "DynamoCheckpoint first has this identity already" in shown.stderr


async def test_nothing_is_blocked_when_the_operator_is_gone(operator, cluster, namespace):
    configuration = await cluster.get(MUTATING_WEBHOOKS, names.OPERATOR)
    dead = [hook["clientConfig"] | {"url": "https://127.0.0.1:9/mutate"} for hook in configuration["webhooks"]]
    hooks = [hook | {"clientConfig": client} for hook, client in zip(configuration["webhooks"], dead, strict=True)]
    await cluster.patch(MUTATING_WEBHOOKS, names.OPERATOR, {"webhooks": hooks})
    async with asyncio.timeout(30):
        while True:
            made = await cluster.create(PODS, pod("probe", "nothing"), namespace, dry_run=True)
            if names.ANNOTATION_UNTOUCHED not in made["metadata"]["annotations"]:
                break
            await asyncio.sleep(0.05)
    made = await cluster.create(PODS, pod("worker", HASH), namespace)
    assert made["spec"]["containers"][0]["command"] == ["serve"]


async def test_no_secret_is_told_to_anybody(operator, cluster, namespace, caplog):
    secret = await cluster.get(SECRETS, "chrek-webhook", namespace)
    assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert secret["type"] == "kubernetes.io/tls"
    configuration = await cluster.get(MUTATING_WEBHOOKS, names.OPERATOR)
    assert configuration["webhooks"][0]["clientConfig"]["caBundle"] == secret["data"]["ca.crt"]
    assert secret["data"]["tls.key"] not in json.dumps(configuration)
    assert "PRIVATE KEY" not in caplog.text


async def test_a_lost_certificate_is_made_anew(cluster, namespace):
    from chrek_operator.admission.keeping import keep_certificate
    from chrek_operator.reconciler import utc_now

    first = await keep_certificate(cluster, namespace, ["a.b.svc"], utc_now())
    assert await keep_certificate(cluster, namespace, ["a.b.svc"], utc_now()) == first
    other = await keep_certificate(cluster, namespace, ["c.d.svc"], utc_now())
    assert other.certificate != first.certificate
    # Who still serves the former one goes on being trusted.
    assert first.authorities.strip() in other.authorities
    with pytest.raises(ChrekError):
        await keep_certificate(cluster, "no-such-namespace", ["a.b.svc"], utc_now())
