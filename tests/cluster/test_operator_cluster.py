"""The operator against an API server. The tests play the agent; no container needs to start."""

import asyncio
import sys
from contextlib import aclosing

import pytest

from chrek_operator.running import run_operator
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, DEPLOYMENTS, EVENTS, GRAPHS, JOBS

pytestmark = pytest.mark.cluster

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
IMAGE = "registry.invalid/worker:1"


def checkpoint(name, **container):
    worker = {"name": "main", "image": IMAGE, "command": ["python3", "-m", "dynamo.vllm"], **container}
    return {
        "apiVersion": CHECKPOINTS.api_version,
        "kind": CHECKPOINTS.kind,
        "metadata": {"name": name},
        "spec": {"identity": IDENTITY, "job": {"podTemplateSpec": {"spec": {"containers": [worker]}}}},
    }


def graph(**services):
    return {
        "apiVersion": GRAPHS.api_version,
        "kind": GRAPHS.kind,
        "metadata": {"name": "my-llm"},
        "spec": {"services": services},
    }


def service(**block):
    main = {"image": IMAGE, "args": ["python3 -m dynamo.vllm --model meta-llama/Llama-3-8B"]}
    return {"replicas": 1, "extraPodSpec": {"mainContainer": main}} | ({"checkpoint": block} if block else {})


@pytest.fixture
async def operator(cluster, namespace):
    """The operator in this process, for one namespace."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_operator(cluster, Settings(namespaces=(namespace,), poll=0.5), stop))
    yield task
    stop.set()
    await task
    for left in await cluster.list(CHECKPOINTS, namespace):
        # Without an agent an artifact's finalizer would keep the namespace.
        await cluster.patch(CHECKPOINTS, left["metadata"]["name"], {"metadata": {"finalizers": None}}, namespace)


@pytest.fixture
def until(cluster, namespace):
    """Waits until an object is as told; with None, until it is gone."""

    async def wait(resource, name, wanted):
        async with asyncio.timeout(60), aclosing(cluster.watch(resource, namespace, fields=f"metadata.name={name}")) as events:
            async for event in events:
                body = event.object
                if event.type == "SYNCED":
                    if wanted is None and not await exists(resource, name):
                        return None
                elif event.type == "DELETED":
                    if wanted is None:
                        return None
                elif wanted is not None and wanted(body):
                    return body
        raise AssertionError("the watch ended")

    async def exists(resource, name):
        try:
            await cluster.get(resource, name, namespace)
        except NotFoundError:
            return False
        return True

    return wait


def phase(wanted):
    return lambda body: (body.get("status") or {}).get("phase") == wanted


async def publish(cluster, namespace, name):
    """What the agent does when an artifact is committed and verified."""
    status = {"artifact": {"generation": "g1", "bytes": 1, "files": 1}}
    await cluster.patch(CHECKPOINTS, name, {"status": status}, namespace, subresource="status")


async def test_a_checkpoint_from_pending_to_ready_to_gone(operator, cluster, namespace, until):
    await cluster.create(CHECKPOINTS, checkpoint("by-hand"), namespace)
    creating = await until(CHECKPOINTS, "by-hand", phase("Creating"))
    assert creating["status"]["identityHash"] == HASH
    assert creating["metadata"]["labels"] == {names.LABEL_HASH: HASH}
    assert creating["metadata"]["finalizers"] == [names.FINALIZER]
    assert "annotations" not in creating["metadata"]
    job = await cluster.get(JOBS, "checkpoint-by-hand", namespace)
    assert job["metadata"]["ownerReferences"][0]["uid"] == creating["metadata"]["uid"]
    shim = await cluster.get(CONFIG_MAPS, names.SHIM_CONFIG_MAP, namespace)
    assert names.SHIM_FILE in shim["binaryData"]

    await publish(cluster, namespace, "by-hand")
    ready = await until(CHECKPOINTS, "by-hand", phase("Ready"))
    assert ready["status"]["location"] == f"/checkpoints/{HASH}"

    await cluster.delete(CHECKPOINTS, "by-hand", namespace)
    await until(JOBS, "checkpoint-by-hand", None)
    waiting = await cluster.get(CHECKPOINTS, "by-hand", namespace)
    assert waiting["metadata"]["finalizers"] == [names.FINALIZER]
    await cluster.patch(CHECKPOINTS, "by-hand", {"metadata": {"finalizers": None}}, namespace)
    await until(CHECKPOINTS, "by-hand", None)

    told = {(event["reason"], event["type"]) for event in await cluster.list(EVENTS, namespace)}
    assert {("NameDiffersFromIdentity", "Warning"), ("CheckpointReady", "Normal")} <= told


async def test_deleting_needs_no_agent_when_nothing_was_captured(operator, cluster, namespace, until):
    await cluster.create(CHECKPOINTS, checkpoint("never"), namespace)
    await until(CHECKPOINTS, "never", phase("Creating"))
    await cluster.delete(CHECKPOINTS, "never", namespace)
    await until(CHECKPOINTS, "never", None)


async def test_a_job_deleted_by_hand_comes_back(operator, cluster, namespace, until):
    await cluster.create(CHECKPOINTS, checkpoint("again"), namespace)
    await until(CHECKPOINTS, "again", phase("Creating"))
    first = (await cluster.get(JOBS, "checkpoint-again", namespace))["metadata"]["uid"]
    await cluster.delete(JOBS, "checkpoint-again", namespace)
    second = await until(JOBS, "checkpoint-again", lambda body: body["metadata"]["uid"] != first)
    assert second["metadata"]["ownerReferences"][0]["name"] == "again"
    await until(CHECKPOINTS, "again", phase("Creating"))


async def test_a_job_the_server_refuses_fails_with_its_words_and_can_be_retried(operator, cluster, namespace, until):
    mounts = [{"name": "no-such-volume", "mountPath": "/models"}]
    await cluster.create(CHECKPOINTS, checkpoint("bad", volumeMounts=mounts), namespace)
    failed = await until(CHECKPOINTS, "bad", phase("Failed"))
    assert "no-such-volume" in failed["status"]["message"]
    repaired = checkpoint("bad")["spec"]["job"]
    retry = {"annotations": {names.ANNOTATION_RETRY: "1"}}
    await cluster.patch(CHECKPOINTS, "bad", {"metadata": retry, "spec": {"job": repaired}}, namespace)
    await until(CHECKPOINTS, "bad", phase("Creating"))


async def test_a_graph_and_its_checkpoint(operator, cluster, namespace, until):
    auto = {"enabled": True, "mode": "auto", "identity": IDENTITY}
    await cluster.create(GRAPHS, graph(VllmWorker=service(**auto), Frontend=service()), namespace)
    created = await until(CHECKPOINTS, HASH, phase("Creating"))
    assert "ownerReferences" not in created["metadata"]
    before = await until(DEPLOYMENTS, "my-llm-vllmworker", lambda body: True)
    labels = before["spec"]["template"]["metadata"]["labels"]
    assert (labels[names.LABEL_NAME], labels[names.LABEL_RESTORE]) == (HASH, "true")

    await publish(cluster, namespace, HASH)
    done = await until(GRAPHS, "my-llm", lambda body: _checkpoint_ready(body, "VllmWorker"))
    assert done["status"]["checkpoints"]["VllmWorker"]["identityHash"] == HASH
    assert done["status"]["services"]["Frontend"]["componentName"] == "my-llm-frontend"
    after = await cluster.get(DEPLOYMENTS, "my-llm-vllmworker", namespace)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]

    await cluster.patch(GRAPHS, "my-llm", {"spec": {"services": {"Frontend": None}}}, namespace)
    await until(DEPLOYMENTS, "my-llm-frontend", None)
    await cluster.delete(GRAPHS, "my-llm", namespace)
    await until(DEPLOYMENTS, "my-llm-vllmworker", None)
    assert (await cluster.get(CHECKPOINTS, HASH, namespace))["status"]["phase"] == "Ready"


def _checkpoint_ready(body, name):
    return ((body.get("status") or {}).get("checkpoints") or {}).get(name, {}).get("ready")


async def test_a_missing_reference_is_told_and_its_workers_start_cold(operator, cluster, namespace, until):
    block = {"enabled": True, "checkpointRef": "e5962d34ba272638"}
    await cluster.create(GRAPHS, graph(VllmWorker=service(**block)), namespace)
    await until(DEPLOYMENTS, "my-llm-vllmworker", lambda body: True)
    found = await until(GRAPHS, "my-llm", lambda body: (body.get("status") or {}).get("conditions"))
    reasons = {condition["type"]: condition["reason"] for condition in found["status"]["conditions"]}
    assert reasons["CheckpointsFound"] == "CheckpointNotFound"


async def test_one_broken_service_stops_no_other(operator, cluster, namespace, until):
    broken = service()
    broken["extraPodSpec"]["mainContainer"]["volumeMounts"] = [{"name": "no-such-volume", "mountPath": "/x"}]
    await cluster.create(GRAPHS, graph(Broken=broken, Frontend=service()), namespace)
    await until(DEPLOYMENTS, "my-llm-frontend", lambda body: True)
    failed = await until(GRAPHS, "my-llm", lambda body: (body.get("status") or {}).get("state") == "failed")
    assert "no-such-volume" in failed["status"]["conditions"][0]["message"]


async def test_the_program_leaves_on_sigterm(cluster_config, cluster, namespace, until):
    command = [sys.executable, "-m", "chrek_operator", "--kubeconfig", str(cluster_config), "--namespace", namespace]
    program = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    await cluster.create(CHECKPOINTS, checkpoint("p"), namespace)
    await until(CHECKPOINTS, "p", phase("Creating"))
    await cluster.delete(CHECKPOINTS, "p", namespace)
    await until(CHECKPOINTS, "p", None)
    program.terminate()
    _, said = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert said.decode().rstrip().endswith("operator stopped")
