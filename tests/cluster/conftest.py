"""An API server for each test, or the one that CHREK_TEST_KUBECONFIG names, and the real kubectl against it."""

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import load_kube_config

from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CRDS, NAMESPACES
from kubectl_chrek.local.apiserver import ApiServer

KUBECTL_SECONDS = 60
SERVICE_ACCOUNTS = Resource("v1", "ServiceAccount", "serviceaccounts")


@pytest.fixture
async def cluster_config(tmp_path):
    """Path of a kubeconfig; our definitions are installed there."""
    external = os.environ.get("CHREK_TEST_KUBECONFIG")
    if external:
        await install(external)
        yield Path(external)
        return
    directory = tmp_path / "apiserver"
    directory.mkdir()
    async with ApiServer.start(directory, load_crds()) as server:
        yield server.kubeconfig


@pytest.fixture
async def cluster(cluster_config):
    """A connection with a fresh namespace, which is deleted afterwards, as its own."""
    name = f"chrek-test-{uuid.uuid4().hex[:10]}"
    async with Cluster.connect(kubeconfig=str(cluster_config), namespace=name) as connected:
        await _make_namespace(connected, name)
        yield connected
        await connected.delete(NAMESPACES, name)


@pytest.fixture
def make_namespace(cluster):
    """`await make_namespace(name)`: another namespace, in which pods may be made at once; to be deleted by the test."""
    return partial(_make_namespace, cluster)


async def _make_namespace(cluster, name):
    await cluster.create(NAMESPACES, {"metadata": {"name": name}})
    async with asyncio.timeout(KUBECTL_SECONDS):
        # A real cluster refuses pods until it has made the account that they run under.
        while "CHREK_TEST_KUBECONFIG" in os.environ:
            with suppress(NotFoundError):
                await cluster.get(SERVICE_ACCOUNTS, "default", name)
                return
            await asyncio.sleep(0.02)


@pytest.fixture
def namespace(cluster):
    """The test's own namespace."""
    return cluster.namespace


@pytest.fixture
def kubectl_command(cluster_config, namespace, tmp_path):
    """The start of a kubectl command line, and its environment."""
    program = os.environ.get("CHREK_TEST_KUBECTL") or shutil.which("kubectl")
    if not program:
        pytest.skip("there is no kubectl in PATH: run scripts/install-kubectl")
    environment = os.environ | {
        "KUBECONFIG": str(cluster_config),
        "KUBECACHEDIR": str(tmp_path / "cache"),
        "KUBECTL_KUBERC": "false",
    }
    return [program, "-n", namespace], environment


@pytest.fixture
def kubectl(kubectl_command):
    """Runs the real kubectl in the test's namespace: `await kubectl("get", "pods")` is a CompletedProcess."""
    command, environment = kubectl_command

    async def run(*arguments, stdin="", check=True):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, *map(str, arguments), stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )
        async with asyncio.timeout(KUBECTL_SECONDS):
            output, errors = await process.communicate(stdin.encode())
        done = subprocess.CompletedProcess(arguments, process.returncode, output.decode(), errors.decode())
        assert done.returncode == 0 or not check, f"kubectl {arguments}: {done.stderr}{done.stdout}"
        return done

    return run


@pytest.fixture
def kubectl_lines(kubectl_command):
    """A kubectl that goes on: `async with kubectl_lines("get", "-w", ...) as line` gives a function to await for the next line."""
    command, environment = kubectl_command

    @asynccontextmanager
    async def start(*arguments):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=pipe, stderr=pipe, env=environment)

        async def line():
            async with asyncio.timeout(KUBECTL_SECONDS):
                return (await process.stdout.readline()).decode()

        try:
            yield line
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    return start


async def install(kubeconfig):
    """Installs our definitions and waits until the server serves them."""
    async with Cluster.connect(kubeconfig=kubeconfig) as connected:
        for definition in load_crds():
            name = definition["metadata"]["name"]
            await connected.patch(CRDS, name, definition, type="apply")
            async with asyncio.timeout(KUBECTL_SECONDS):
                async for event in connected.watch(CRDS, fields=f"metadata.name={name}"):
                    conditions = event.object.get("status", {}).get("conditions") or []
                    if any(item["type"] == "Established" and item["status"] == "True" for item in conditions):
                        break


@pytest.fixture
async def api(cluster_config):
    """One raw request: `await api("GET", path, limit=1)` is its status and its body, parsed unless `lines` are wanted."""
    configuration = Configuration()
    await load_kube_config(config_file=str(cluster_config), client_configuration=configuration)
    rest = RESTClientObject(configuration)

    async def request(method, path, body=None, *, content_type="application/json", accept="application/json", lines=False, **query):
        url = str(configuration.host).rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept, "Content-Type": content_type}
        token = (await configuration.auth_settings()).get("BearerToken")
        if token:
            headers[token["key"]] = token["value"]
        answer = await rest.request(method, url, headers=headers, body=body, _request_timeout=60)
        async with answer.response as response:
            data = await response.read()
            parsed = response.content_type == "application/json" and not lines
            return response.status, json.loads(data) if parsed else data.decode()

    yield request
    await rest.close()


@pytest.fixture(scope="session")
def is_guarded():
    """Whether a patch is refused by a server where somebody else has written, or where another object has the name by now."""

    def judge(patch, *, subresource="", kind="merge"):
        if kind == "json":
            tested = {step["path"] for step in patch if step["op"] == "test"}
            return bool(tested & {"/metadata/uid", "/metadata/resourceVersion"})
        # A server takes a status for whatever has the name, whichever UID the patch gives.
        kept = {"resourceVersion"} if subresource else {"resourceVersion", "uid"}
        return kind == "apply" or any(patch.get("metadata", {}).get(field) for field in kept)

    return judge


@pytest.fixture
def checkpoint_body():
    """A small DynamoCheckpoint."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.invalid/worker:1"}]}}
    spec = {"identity": {"model": "m", "backendFramework": "vllm"}, "job": {"podTemplateSpec": template}}
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoCheckpoint",
        "metadata": {"name": "one"},
        "spec": spec,
    }
