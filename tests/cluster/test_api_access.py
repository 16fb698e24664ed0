"""Who gets in, and what the server says about itself."""

import json
import ssl
import stat
from base64 import b64decode

import aiohttp
import pytest
import yaml

from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CRDS, PODS
from kubectl_chrek.local.apiserver import ApiError, ApiServer

pytestmark = pytest.mark.cluster

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def test_version_and_health(api):
    status, body = await api("GET", "/version")
    assert (status, body["major"]) == (200, "1")
    for path in ("/healthz", "/livez", "/readyz"):
        assert await api("GET", path) == (200, "ok")


async def test_groups_versions_and_resources(api):
    _, groups = await api("GET", "/apis")
    group = next(group for group in groups["groups"] if group["name"] == "nvidia.com")
    assert group["preferredVersion"] == {"groupVersion": "nvidia.com/v1alpha1", "version": "v1alpha1"}
    assert (await api("GET", "/apis/nvidia.com"))[1]["kind"] == "APIGroup"
    _, found = await api("GET", "/apis/nvidia.com/v1alpha1")
    resources = {resource["name"]: resource for resource in found["resources"]}
    assert resources["dynamocheckpoints"]["shortNames"] == ["dckpt"]
    assert "watch" in resources["dynamocheckpoints"]["verbs"]
    assert resources["dynamocheckpoints/status"]["kind"] == "DynamoCheckpoint"


async def test_pods_have_a_log(api):
    assert (await api("GET", "/api"))[1]["versions"] == ["v1"]
    _, found = await api("GET", "/api/v1")
    assert {"pods", "pods/log", "pods/status", "namespaces"} <= {resource["name"] for resource in found["resources"]}


async def test_aggregated_discovery(api):
    _, found = await api("GET", "/apis", accept=AGGREGATED)
    assert found["kind"] == "APIGroupDiscoveryList"
    group = next(item for item in found["items"] if item["metadata"]["name"] == "nvidia.com")
    resource = next(item for item in group["versions"][0]["resources"] if item["resource"] == "dynamocheckpoints")
    assert resource["responseKind"]["kind"] == "DynamoCheckpoint"
    assert [item["subresource"] for item in resource["subresources"]] == ["status"]


async def test_the_schema_of_a_custom_resource(api):
    _, index = await api("GET", "/openapi/v3", lines=True)
    paths = json.loads(index)["paths"]
    _, document = await api("GET", paths["apis/nvidia.com/v1alpha1"]["serverRelativeURL"].partition("?")[0])
    schema = document["components"]["schemas"]["com.nvidia.v1alpha1.DynamoCheckpoint"]
    assert schema["properties"]["spec"]["required"] == ["identity", "job"]


async def test_access_reviews(api):
    question = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}}
    status, body = await api("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", question)
    assert (status, body["status"]["allowed"]) == (201, True)
    token = {"spec": {"token": "nonsense"}}
    status, body = await api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", token)
    assert (status, body["status"].get("authenticated", False)) == (201, False)


async def test_without_a_token_nobody_gets_in(cluster_config):
    kubeconfig = yaml.safe_load(cluster_config.read_text())
    server = kubeconfig["clusters"][0]["cluster"]
    context = ssl.create_default_context(cadata=b64decode(server["certificate-authority-data"]).decode())
    headers = {"Authorization": "Bearer nonsense"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server['server']}/api/v1/pods", ssl=context, headers=headers) as response,
    ):
        assert response.status == 401
        assert (await response.json())["reason"] == "Unauthorized"


@pytest.fixture
async def server(tmp_path):
    async with ApiServer.start(tmp_path, load_crds()) as started:
        yield started


async def test_the_kubeconfig_is_for_its_owner_alone(server):
    assert stat.S_IMODE(server.kubeconfig.stat().st_mode) == 0o600
    assert yaml.safe_load(server.kubeconfig.read_text())["current-context"] == "chrek-local"


async def test_the_certificate_is_good_enough_for_strict_verification(server):
    kubeconfig = yaml.safe_load(server.kubeconfig.read_text())
    authority = b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/version", ssl=context) as response:
        assert response.status == 401


async def test_logs_come_from_the_hook(server):
    asked = []

    async def source(namespace, pod, container, **how):
        asked.append((namespace, pod["metadata"]["name"], container, how))
        yield b"one\n"
        yield b"two\n"

    server.logs = source
    async with Cluster.connect(kubeconfig=str(server.kubeconfig)) as cluster:
        spec = {"nodeName": "n", "containers": [{"name": "main", "image": "x"}]}
        await cluster.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
        assert await cluster.logs("p", tail=5) == "one\ntwo\n"
    how = {"follow": False, "tail": 5, "previous": False, "since_seconds": None, "timestamps": False}
    assert asked == [("default", "p", "main", how)]


async def test_a_log_that_cannot_be_read_is_an_answer(server):
    async def source(*_arguments, **_how):
        raise ApiError(400, "BadRequest", "previous terminated container not found")
        yield b""

    server.logs = source
    async with Cluster.connect(kubeconfig=str(server.kubeconfig)) as cluster:
        spec = {"nodeName": "n", "containers": [{"name": "main", "image": "x"}]}
        await cluster.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
        with pytest.raises(UsageError, match="previous terminated container not found"):
            await cluster.logs("p")


async def test_a_rule_that_cannot_be_checked_is_refused(server):
    definition = next(found for found in load_crds() if found["metadata"]["name"].startswith("dynamocheckpoints."))
    definition["metadata"]["name"] = "others.nvidia.com"
    definition["spec"]["names"] = {"plural": "others", "kind": "Other"}
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": "self.size() > 3"}]
    async with Cluster.connect(kubeconfig=str(server.kubeconfig)) as cluster:
        with pytest.raises(UsageError, match="has no CEL interpreter and does not know this rule"):
            await cluster.create(CRDS, definition)
