"""A Dynamo worker of a present release, unmodified: captured before it serves, restored, and told which pod it is."""

import asyncio
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("snapshot_worker.py")
WHEEL = SCRIPT.parents[2] / ".cache/engines/dynamo/common/snapshot"
UNFETCHED = "the sources of ai-dynamo are not here: run scripts/fetch-engines (it downloads some 400 MB)"


@pytest.fixture
def waiting(lab):
    """The lab, with the worker of this file: what its own probe asks does not serve before its capture."""

    def worker(*arguments):
        pod_name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        command = ["/usr/bin/env", "python3", str(SCRIPT), "dynamo.vllm", *arguments]
        probe = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
        return {"name": "main", "image": "localhost/host", "command": command, "env": [pod_name], "readinessProbe": probe}

    lab.worker = worker
    return lab


@pytest.mark.parametrize(
    "arguments",
    [(), pytest.param(("--wheel",), marks=pytest.mark.skipif(not WHEEL.exists(), reason=UNFETCHED))],
)
async def test_it_is_captured_asleep_and_wakes_in_another_pod(waiting, arguments):
    name = await waiting.prewarm("snapshot/worker", *arguments)
    checkpoint = await waiting.settled(name)
    assert checkpoint.phase == "Ready", checkpoint.message
    await waiting.graph(name, *arguments, replicas=2)
    first = await waiting.ready_pod(name)
    second = await waiting.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))
    said = [await asyncio.to_thread(waiting.ask, pod) for pod in (first, second)]
    assert [waiting.startup(pod)["result"] for pod in (first, second)] == ["restored", "restored"]
    assert said[0]["token"] == said[1]["token"]
    assert [one["log"] for one in said] == [["paused", "resumed", "marked"]] * 2
    assert [one["pod"] for one in said] == [first["metadata"]["name"], second["metadata"]["name"]]


async def test_a_pod_that_starts_cold_does_not_wait_for_a_capture(waiting):
    await waiting.graph("not-there")
    assert waiting.ask(await waiting.ready_pod("not-there"))["log"] == []
