"""Admission webhooks: whom the API server asks, and what it makes of the answers."""

import asyncio
import base64
import json
import os
import ssl
import uuid

import pytest
from aiohttp import web

from chrek_operator.admission.certificates import issue
from chrek_operator.reconciler import utc_now
from kubectl_chrek.cluster import Resource
from kubectl_chrek.cluster.resources import CONFIG_MAPS, MUTATING_WEBHOOKS, NAMESPACES, PODS, VALIDATING_WEBHOOKS

pytestmark = pytest.mark.cluster

SERVICES = Resource("v1", "Service", "services")
# What tests and a real cluster's controllers write besides.
IGNORED = ("probe", "kube-root-ca.crt", "openshift-service-ca.crt")
PATH = "/api/v1/namespaces/{}/configmaps"


class Hook:
    """A webhook in this process; `respond` makes the response from the request, `asked` holds what was asked."""

    def __init__(self, path):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._path = path
        self.asked = []
        self.respond = lambda _request: {"allowed": True}
        self.url = ""
        self.authorities = b""

    def certify(self, host):
        """From now on the hook is known by this name."""
        pair = issue([host], utc_now())
        self.authorities = pair.authorities
        self._path.write_bytes(pair.key + pair.certificate)
        self.context.load_cert_chain(self._path)

    async def handle(self, request):
        asked = (await request.json())["request"]
        if (asked["object"] or asked["oldObject"])["metadata"].get("name") not in IGNORED:
            self.asked.append(asked)
        response = self.respond(asked)
        if asyncio.iscoroutine(response):
            response = await response
        steps = response.pop("steps", None)
        if steps:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(steps).encode()).decode()}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        return web.json_response(review | {"response": {"uid": asked["uid"]} | response})


@pytest.fixture
async def hook(tmp_path):
    served = Hook(tmp_path / "hook.pem")
    served.certify("127.0.0.1")
    app = web.Application()
    app.router.add_post("/", served.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served.context).start()
    served.url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    yield served
    await runner.cleanup()


@pytest.fixture
async def configure(cluster, namespace, hook):
    """Registers the hook for ConfigMaps of the test's namespace, and waits until the server knows."""
    made = []
    await cluster.patch(NAMESPACES, namespace, {"metadata": {"labels": {"hooked": namespace}}})

    async def make(resource=VALIDATING_WEBHOOKS, *, wait=True, **changes):
        client = {"url": hook.url, "caBundle": base64.b64encode(hook.authorities).decode()} | changes.pop("client", {})
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE", "DELETE"]}
        webhook = {
            "name": "test.chrek.nvidia.com",
            "clientConfig": client,
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"hooked": namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **changes,
        }
        name = f"chrek-test-{uuid.uuid4().hex[:8]}"
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "webhooks": [webhook]}
        created = await cluster.create(resource, body)
        made.append((resource, name))
        if wait:
            await known()
        return created["webhooks"][0]

    async def known():
        before, seen = hook.respond, []
        hook.respond = lambda request: seen.append(request) or {"allowed": True}
        async with asyncio.timeout(30):
            while not seen:
                await cluster.create(CONFIG_MAPS, {"metadata": {"name": "probe"}}, namespace, dry_run=True)
                await asyncio.sleep(0.02)
        hook.respond = before

    yield make
    for resource, name in made:
        await cluster.delete(resource, name)


async def test_the_question(configure, hook, cluster, namespace, api):
    await configure()
    status, made = await api("POST", PATH.format(namespace), {"metadata": {"name": "one"}, "data": {"a": "1"}})
    assert status == 201
    (asked,) = hook.asked
    assert asked["operation"] == "CREATE"
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert asked["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["namespace"], asked["name"], asked["dryRun"]) == (namespace, "one", False)
    assert asked["object"]["data"] == {"a": "1"}
    assert asked["oldObject"] is None
    assert asked["options"]["kind"] == "CreateOptions"
    assert asked["userInfo"]["username"]
    await cluster.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}}, namespace)
    await cluster.delete(CONFIG_MAPS, "one", namespace)
    update, delete = hook.asked[1:]
    assert (update["operation"], update["oldObject"]["data"], update["object"]["data"]) == ("UPDATE", {"a": "1"}, {"a": "2"})
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"a": "2"})
    assert made["metadata"]["uid"] == delete["oldObject"]["metadata"]["uid"]


async def test_a_refusal_in_the_webhooks_words(configure, hook, namespace, api):
    await configure()
    hook.respond = lambda _request: {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": "not so"}}
    status, refused = await api("POST", PATH.format(namespace), {"metadata": {"name": "one"}})
    assert (status, refused["reason"]) == (422, "Invalid")
    assert refused["message"] == 'admission webhook "test.chrek.nvidia.com" denied the request: not so'
    hook.respond = lambda _request: {"allowed": False}
    status, refused = await api("POST", PATH.format(namespace), {"metadata": {"name": "one"}})
    assert status == 400
    assert refused["message"] == 'admission webhook "test.chrek.nvidia.com" denied the request without explanation'
    status, _ = await api("GET", f"{PATH.format(namespace)}/one")
    assert status == 404


async def test_a_patch_is_applied_before_the_object_is_stored(configure, hook, cluster, namespace):
    await configure(MUTATING_WEBHOOKS)
    hook.respond = lambda _request: {"allowed": True, "steps": [{"op": "add", "path": "/data", "value": {"b": "2"}}]}
    made = await cluster.create(CONFIG_MAPS, {"metadata": {"generateName": "made-"}}, namespace)
    assert made["data"] == {"b": "2"}
    assert hook.asked[0]["object"]["metadata"].get("uid", "") == ""
    assert "name" not in hook.asked[0]
    assert (await cluster.get(CONFIG_MAPS, made["metadata"]["name"], namespace))["data"] == {"b": "2"}
    for kind in ("merge", "apply"):
        patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["metadata"]["name"], "labels": {"l": kind}}}
        changed = await cluster.patch(CONFIG_MAPS, made["metadata"]["name"], patch, namespace, type=kind)
        assert (changed["data"], changed["metadata"]["labels"]) == ({"b": "2"}, {"l": kind})


async def test_what_webhooks_make_of_an_object_is_validated(configure, hook, namespace, api):
    await configure(MUTATING_WEBHOOKS)
    hook.respond = lambda _request: {"allowed": True, "steps": [{"op": "add", "path": "/data", "value": {"not a key": ""}}]}
    status, refused = await api("POST", PATH.format(namespace), {"metadata": {"name": "one"}})
    assert (status, refused["reason"]) == (422, "Invalid")


async def test_nothing_is_stored_by_a_dry_run_and_the_webhook_knows(configure, hook, cluster, namespace):
    await configure(MUTATING_WEBHOOKS)
    hook.respond = lambda _request: {"allowed": True, "steps": [{"op": "add", "path": "/data", "value": {"b": "2"}}]}
    made = await cluster.create(CONFIG_MAPS, {"metadata": {"name": "dry"}}, namespace, dry_run=True)
    assert made["data"] == {"b": "2"}
    assert hook.asked[0]["dryRun"] is True
    assert "dry" not in {found["metadata"]["name"] for found in await cluster.list(CONFIG_MAPS, namespace)}


@pytest.mark.parametrize("client", [{"url": "https://127.0.0.1:9/"}, {"caBundle": None}, {"service": {"name": "none"}}])
@pytest.mark.parametrize("policy", ["Ignore", "Fail"])
async def test_a_webhook_that_cannot_be_called(configure, namespace, api, client, policy):
    if "service" in client:
        client = {"service": {"name": "none", "namespace": namespace}, "url": None}
    await configure(wait=False, failurePolicy=policy, client=client, timeoutSeconds=5)
    async with asyncio.timeout(30):
        while True:
            status, answer = await api("POST", PATH.format(namespace), {"metadata": {"name": "one"}}, dryRun="All")
            if policy == "Ignore" or status != 201:
                break
            await asyncio.sleep(0.05)
    if policy == "Ignore":
        assert status == 201
        return
    assert (status, answer["reason"]) == (500, "InternalError")
    assert answer["message"].startswith('Internal error occurred: failed calling webhook "test.chrek.nvidia.com": ')


async def test_a_webhook_that_is_too_slow(configure, hook, namespace, api):
    await configure(timeoutSeconds=1)

    async def slow(_request):
        await asyncio.sleep(30)

    hook.respond = slow
    status, answer = await api("POST", PATH.format(namespace), {"metadata": {"name": "one"}})
    assert status == 500
    assert "failed calling webhook" in answer["message"]
    assert "context deadline exceeded" in answer["message"]


async def test_selectors(configure, hook, cluster, namespace):
    await configure(objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]})
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one", "labels": {"skip": "me"}}}, namespace)
    assert hook.asked == []
    # Either side of an update counts.
    await cluster.patch(CONFIG_MAPS, "one", {"metadata": {"labels": {"skip": None}}}, namespace)
    assert [asked["operation"] for asked in hook.asked] == ["UPDATE"]
    other = f"{namespace}-b"
    await cluster.create(NAMESPACES, {"metadata": {"name": other}})
    try:
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": "two"}}, other)
        assert len(hook.asked) == 1
    finally:
        await cluster.delete(NAMESPACES, other)


async def test_a_match_condition(configure, hook, cluster, namespace):
    expression = "has(object.metadata.annotations) && 'x/y' in object.metadata.annotations"
    probe = {"matchConditions": [{"name": "c", "expression": expression}]}
    await configure(wait=False, **probe)
    async with asyncio.timeout(30):
        while not hook.asked:
            body = {"metadata": {"name": "one", "annotations": {"x/y": ""}}}
            await cluster.create(CONFIG_MAPS, body, namespace, dry_run=True)
    before = len(hook.asked)
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "two", "annotations": {"z": ""}}}, namespace)
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "three"}}, namespace)
    assert len(hook.asked) == before


async def test_a_warning_comes_back(configure, hook, namespace, kubectl):
    await configure()
    hook.respond = lambda _request: {"allowed": True, "warnings": ["mind the step"]}
    assert "Warning: mind the step" in (await kubectl("create", "configmap", "one")).stderr


async def test_a_changed_mind(configure, hook, cluster, namespace):
    """A webhook that is asked again sees what a later one has made."""
    first = {"name": "a.chrek.nvidia.com", "reinvocationPolicy": "IfNeeded"}
    await configure(MUTATING_WEBHOOKS, **first)
    seen = []

    def respond(request):
        data = request["object"].get("data") or {}
        seen.append(sorted(data))
        step = {"op": "add", "path": "/data", "value": data | {f"k{len(seen)}": ""}}
        return {"allowed": True, "steps": [step] if len(seen) < 3 else []}

    await configure(MUTATING_WEBHOOKS, name="b.chrek.nvidia.com")
    hook.respond = respond
    made = await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one"}}, namespace)
    assert sorted(made["data"]) == ["k1", "k2"]
    assert len(seen) >= 2


async def test_defaults_of_a_configuration(configure):
    hook = await configure(wait=False)
    assert (hook["failurePolicy"], hook["matchPolicy"], hook["timeoutSeconds"]) == ("Fail", "Equivalent", 10)
    assert hook["objectSelector"] == {}
    assert hook["rules"][0]["scope"] == "*"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "short"}, "webhooks[0].name"),
        ({"sideEffects": "Some"}, "webhooks[0].sideEffects"),
        ({"timeoutSeconds": 31}, "webhooks[0].timeoutSeconds"),
        ({"failurePolicy": "Shrug"}, "webhooks[0].failurePolicy"),
        ({"client": {"url": "http://127.0.0.1/"}}, "webhooks[0].clientConfig.url"),
        ({"client": {"url": None}}, "webhooks[0].clientConfig"),
    ],
)
async def test_a_configuration_that_makes_no_sense(configure, changes, field):
    from kubectl_chrek.api.errors import UsageError

    with pytest.raises(UsageError) as refused:
        await configure(wait=False, **changes)
    assert f"{field}:" in str(refused.value)


@pytest.mark.skipif("CHREK_TEST_KUBECONFIG" in os.environ, reason="a real cluster's pods have addresses of their own")
async def test_a_webhook_behind_a_service(configure, hook, cluster, namespace):
    port = int(hook.url.rstrip("/").rpartition(":")[2])
    service = {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": "https"}]}
    await cluster.create(SERVICES, {"metadata": {"name": "hook"}, "spec": service}, namespace)
    ports = [{"name": "https", "containerPort": port}]
    spec = {"containers": [{"name": "main", "image": "registry.invalid/hook:1", "ports": ports}]}
    await cluster.create(PODS, {"metadata": {"name": "hook", "labels": {"app": "hook"}}, "spec": spec}, namespace)
    status = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    await cluster.patch(PODS, "hook", {"status": status}, namespace, subresource="status")
    hook.certify(f"hook.{namespace}.svc")
    client = {"url": None, "service": {"name": "hook", "namespace": namespace, "path": "/"}}
    await configure(client=client)
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one"}}, namespace)
    assert [asked["name"] for asked in hook.asked] == ["one"]
