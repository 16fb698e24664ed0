"""The guide's examples, pasted unchanged, and the commands it tells people to type."""

import asyncio
import uuid
from pathlib import Path

import pytest

from chrek_operator.running import run_operator
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, GRAPHS, JOBS, NAMESPACES

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
QUICK_START = HERE / "seed_quick_start.yaml"
COMPLETE = HERE / "seed.yaml"
QUICK_HASH = "5941a4cb3c363457"


@pytest.fixture
async def team(cluster, namespace):
    """A namespace with an operator. The complete example names its own, which a shared server may hold already."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_operator(cluster, Settings(namespaces=(namespace,), poll=0.3), stop))
    yield namespace
    stop.set()
    await task
    for left in await cluster.list(CHECKPOINTS, namespace):
        await cluster.patch(CHECKPOINTS, left["metadata"]["name"], {"metadata": {"finalizers": None}}, namespace)


@pytest.fixture
def until(kubectl):
    async def wait(wanted, *command):
        async with asyncio.timeout(60):
            while True:
                shown = (await kubectl(*command, check=False)).stdout
                if wanted in shown:
                    return shown
                await asyncio.sleep(0.05)

    return wait


async def publish(cluster, namespace, name):
    """What the agent does when an artifact is committed and verified."""
    status = {"artifact": {"generation": "g1", "bytes": 1, "files": 1}}
    await cluster.patch(CHECKPOINTS, name, {"status": status}, namespace, subresource="status")


async def test_the_quick_start(team, cluster, kubectl, until):
    await kubectl("apply", "--validate=strict", "-f", QUICK_START)
    await until("Creating", "get", "dckpt", QUICK_HASH)
    jobs = await kubectl("get", "jobs", "-l", "nvidia.com/checkpoint-source=true", "-o", "name")
    assert jobs.stdout.split() == [f"job.batch/checkpoint-{QUICK_HASH}"]
    job = await cluster.get(JOBS, f"checkpoint-{QUICK_HASH}", team)
    assert job["spec"]["template"]["metadata"]["labels"][names.LABEL_SOURCE] == "true"

    await until("my-llm-vllmworker", "get", "deployments")
    deployment = await cluster.get(DEPLOYMENTS, "my-llm-vllmworker", team)
    worker = deployment["spec"]["template"]["spec"]["containers"][0]
    assert worker["command"][-3:] == ["/bin/sh", "-c", "python3 -m dynamo.vllm --model meta-llama/Llama-3-8B"]
    environment = {entry["name"]: entry.get("value") for entry in worker["env"]}
    assert environment["DYN_CHECKPOINT_STORAGE_TYPE"] == "pvc"
    assert environment["DYN_CHECKPOINT_LOCATION"] == f"/checkpoints/{QUICK_HASH}"
    assert environment["DYN_CHECKPOINT_PATH"] == "/checkpoints"
    assert environment["DYN_CHECKPOINT_HASH"] == QUICK_HASH
    assert "DYN_CHECKPOINT_SIGNAL_FILE" not in environment

    await publish(cluster, team, QUICK_HASH)
    shown = await until("Ready", "get", "dynamocheckpoint", QUICK_HASH)
    assert shown.splitlines()[0].split() == ["NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE"]
    assert shown.splitlines()[1].split()[:5] == [QUICK_HASH, "meta-llama/Llama-3-8B", "vllm", "Ready", QUICK_HASH]
    described = (await kubectl("describe", "dckpt", QUICK_HASH)).stdout
    for line in (f"Identity Hash:  {QUICK_HASH}", f"Location:  /checkpoints/{QUICK_HASH}", "Storage Type:  pvc", "Phase:  Ready"):
        assert "".join(line.split()) in "".join(described.split())
    after = await cluster.get(DEPLOYMENTS, "my-llm-vllmworker", team)
    assert after["metadata"]["generation"] == deployment["metadata"]["generation"]


async def test_the_complete_example(team, cluster, kubectl, until):
    text = COMPLETE.read_text().replace("namespace: dynamo-system", f"namespace: {team}")
    await kubectl("apply", "--validate=strict", "-f", "-", stdin=text)
    await until("Creating", "get", "dckpt", "e5962d34ba272638")
    body = await cluster.get(CHECKPOINTS, "e5962d34ba272638", team)
    assert body["status"]["identityHash"] == "1f355de0401db0be"
    await publish(cluster, team, "e5962d34ba272638")
    await until("true", "get", "dgd", "my-llm", "-o", "jsonpath={.status.checkpoints.VllmWorker.ready}")
    status = (await cluster.get(GRAPHS, "my-llm", team))["status"]["checkpoints"]["VllmWorker"]
    assert status == {"checkpointName": "e5962d34ba272638", "identityHash": "1f355de0401db0be", "ready": True}
    deployment = await cluster.get(DEPLOYMENTS, "my-llm-vllmworker", team)
    worker = deployment["spec"]["template"]["spec"]["containers"][0]
    # The example's service has neither command nor arguments: they are those of the checkpoint that it refers to.
    assert worker["command"][3:6] == ["python3", "-m", "dynamo.vllm"]
    assert deployment["spec"]["replicas"] == 2


async def test_two_graphs_of_one_identity_share_a_checkpoint(team, cluster, kubectl, until):
    text = QUICK_START.read_text()
    await kubectl("apply", "-f", "-", stdin=text)
    await kubectl("apply", "-f", "-", stdin=text.replace("name: my-llm", "name: other"))
    await until("other-vllmworker", "get", "deployments")
    await until("my-llm-vllmworker", "get", "deployments")
    assert [found["metadata"]["name"] for found in await cluster.list(CHECKPOINTS, team)] == [QUICK_HASH]
    await kubectl("delete", "dgd", "my-llm")
    async with asyncio.timeout(60):
        while "my-llm-vllmworker" in {found["metadata"]["name"] for found in await cluster.list(DEPLOYMENTS, team)}:
            await asyncio.sleep(0.02)
    assert "deletionTimestamp" not in (await cluster.get(CHECKPOINTS, QUICK_HASH, team))["metadata"]
    assert "deletionTimestamp" not in (await cluster.get(DEPLOYMENTS, "other-vllmworker", team))["metadata"]


async def test_the_complete_example_in_the_namespace_it_names(cluster, kubectl):
    """As far as a server's validation goes: strictly, and with nothing stored."""
    made = f"dynamo-system-{uuid.uuid4().hex[:6]}"
    await cluster.create(NAMESPACES, {"metadata": {"name": made}})
    text = COMPLETE.read_text().replace("dynamo-system", made)
    shown = await kubectl("-n", made, "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert shown.stdout.count("created (server dry run)") == 2
    await cluster.delete(NAMESPACES, made)
