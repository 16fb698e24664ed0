"""A restored worker is called restored only once it has answered, and knows which pod it is."""

import asyncio
import os
import signal
import zlib
from pathlib import Path

import pytest

from kubectl_chrek.cluster.resources import GRAPHS, PODS

SCRIPT = Path(__file__).with_name("accepted_worker.py")
ENGINES = Path(__file__).parents[1] / "worker" / "recorded_engines.py"
PYTHON = "/usr/bin/python3"  # The system's torch is that of the demo.
TORCH = Path("/usr/lib/python3/dist-packages/torch")


@pytest.fixture
def hooked(lab):
    """The lab, with the worker of this file."""

    def worker(*arguments):
        return {
            "name": "main",
            "image": "localhost/host",
            "command": [PYTHON, str(SCRIPT), *arguments],
            "env": [{"name": "POD_NAME", "value": "before"}],
            "ports": [{"name": "http", "containerPort": 8000}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        }

    lab.worker = worker
    return lab


@pytest.mark.parametrize(
    "arguments",
    [(), pytest.param(("--torch",), marks=pytest.mark.skipif(not TORCH.exists(), reason="needs apt-get install python3-torch"))],
)
async def test_two_restores_at_once_answer_the_same_and_draw_differently(hooked, arguments):
    name = await hooked.prewarm("probe/accepted", *arguments)
    assert (await hooked.settled(name)).phase == "Ready"
    await hooked.graph(name, *arguments, replicas=2)
    first = await hooked.ready_pod(name)
    second = await hooked.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))
    for pod in (first, second):
        assert hooked.startup(pod)["result"] == "restored"
        assert {"apart", "accept"} <= hooked.startup(pod)["phases"].keys()
        assert hooked.startup(pod)["phaseBytes"]["apart"] == 5 << 20
    one, two = await asyncio.gather(*(asyncio.to_thread(hooked.ask, pod) for pod in (first, second)))
    assert [one["token"], one["answer"]] == [two["token"], two["answer"]]
    assert arguments or one["answer"] == [one["token"], 7]  # Its own hook has dropped its weights, and loaded others.
    assert one["apart"] == two["apart"] == zlib.crc32(b"weights!" * (5 << 17))
    assert [drawn for drawn in one["random"] if drawn in two["random"]] == []
    assert [one["pod"], two["pod"]] == [first["metadata"]["name"], second["metadata"]["name"]]


async def test_a_restored_worker_that_answers_otherwise_starts_cold_with_the_reason(hooked):
    name = await hooked.prewarm("probe/fickle", "--fickle")
    assert (await hooked.settled(name)).phase == "Ready"
    graph = await hooked.graph(name, "--fickle")
    pod = await hooked.ready_pod(name)
    startup = hooked.startup(pod)
    assert (startup["result"], startup["cause"]) == ("cold", "NotAccepted")
    assert "GET /healthz on port 8000: the server answered 500" in startup["reason"]
    assert hooked.ask(pod)["pod"] == "before"
    await hooked.cluster.delete(GRAPHS, graph)


async def test_a_sick_worker_is_restored_all_the_same_where_its_pod_says_so(hooked):
    name = await hooked.prewarm("probe/unasked", "--fickle")
    await hooked.settled(name)
    service = {
        "replicas": 1,
        "extraPodMetadata": {"annotations": {"nvidia.com/chrek-acceptance": "off"}},
        "extraPodSpec": {
            "mainContainer": {key: value for key, value in hooked.worker("--fickle").items() if key != "readinessProbe"}
        },
        "checkpoint": {"enabled": True, "checkpointRef": name},
    }
    metadata, spec = {"name": f"{name}-unasked"}, {"services": {"Worker": service}}
    await hooked.cluster.create(GRAPHS, {"apiVersion": GRAPHS.api_version, "kind": GRAPHS.kind, "metadata": metadata, "spec": spec})
    assert hooked.startup(await hooked.ready_pod(name))["result"] == "restored"


async def test_an_agent_killed_while_a_worker_is_asked_starts_the_pod_cold(hooked):
    name = await hooked.prewarm("probe/hang", "--hang")
    await hooked.settled(name)
    graph = await hooked.graph(name, "--hang")
    running = await hooked.until(PODS, lambda pod: _is_of(pod, graph) and (pod.get("status") or {}).get("phase") == "Running")
    while "asked" not in await hooked.cluster.logs(running["metadata"]["name"]):
        await asyncio.sleep(0.05)
    os.kill(hooked.agent_pid(), signal.SIGKILL)
    pod = await hooked.until(PODS, lambda pod: _is_of(pod, graph) and _is_ready(pod))
    assert hooked.ask(pod)["pod"] == "before"
    assert "Falling back to cold start: the agent died during the restore" in await hooked.cluster.logs(pod["metadata"]["name"])
    await hooked.cluster.delete(GRAPHS, graph)


def _is_of(pod, graph):
    return pod["metadata"].get("labels", {}).get("nvidia.com/dynamo-graph-deployment-name") == graph


def _is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or [])


async def test_an_engine_sleeps_through_its_capture_and_is_woken_in_the_new_pod(hooked):
    def worker(*_):
        readiness = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1}
        command = [PYTHON, str(ENGINES), "vllm", "--enable-sleep-mode"]
        return {"name": "main", "image": "localhost/host", "command": command, "readinessProbe": readiness}

    hooked.worker = worker
    name = await hooked.prewarm("probe/engine")
    assert (await hooked.settled(name)).phase == "Ready"
    await hooked.graph(name)
    pod = await hooked.ready_pod(name)
    assert hooked.startup(pod)["result"] == "restored"
    assert hooked.ask(pod, "/is_sleeping") == {"is_sleeping": False}
    asked = [
        line for line in hooked.ask(pod, "/asked") if line.split()[1].partition("?")[0] in ("/sleep", "/wake_up", "/v1/completions")
    ]
    assert asked == [
        "POST /v1/completions",
        "POST /v1/completions",
        "POST /sleep?level=1&mode=wait",
        "POST /wake_up",
        "POST /v1/completions",
    ]
