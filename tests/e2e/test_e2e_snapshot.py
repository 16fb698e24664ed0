"""A Dynamo worker of a present release, unmodified: captured before it serves, restored, and told which pod it is."""

import asyncio
from pathlib import Path

import pytest

from kubectl_chrek.cluster.resources import GRAPHS

SCRIPT = Path(__file__).with_name("snapshot_worker.py")
WHEEL = SCRIPT.parents[2] / ".cache/engines/dynamo/common/snapshot"


@pytest.fixture
def waiting(lab):
    """The lab, with the worker of this file: it has no readiness probe, for before its capture it serves nothing."""

    def worker(*arguments):
        pod_name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        command = ["/usr/bin/env", "python3", str(SCRIPT), *arguments]
        return {"name": "main", "image": "localhost/host", "command": command, "env": [pod_name]}

    lab.worker = worker
    return lab


async def answer(lab, pod):
    """What it says once it serves: its pod is called Ready before."""
    for _ in range(100):
        try:
            return await asyncio.to_thread(lab.ask, pod)
        except OSError:
            await asyncio.sleep(0.05)
    raise AssertionError("it does not serve")


@pytest.mark.parametrize(
    "arguments",
    [(), pytest.param(("--wheel",), marks=pytest.mark.skipif(not WHEEL.exists(), reason="needs scripts/fetch-engines"))],
)
async def test_it_is_captured_asleep_and_wakes_in_another_pod(waiting, arguments):
    name = await waiting.prewarm("snapshot/worker", *arguments)
    checkpoint = await waiting.settled(name)
    assert checkpoint.phase == "Ready", checkpoint.message
    await waiting.graph(name, *arguments, replicas=2)
    first = await waiting.ready_pod(name)
    second = await waiting.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))
    said = [await answer(waiting, pod) for pod in (first, second)]
    assert [waiting.startup(pod)["result"] for pod in (first, second)] == ["restored", "restored"]
    assert said[0]["token"] == said[1]["token"]
    assert [one["log"] for one in said] == [["paused", "resumed", "marked"]] * 2
    assert [one["pod"] for one in said] == [first["metadata"]["name"], second["metadata"]["name"]]


async def test_a_pod_that_starts_cold_does_not_wait_for_a_capture(waiting):
    graph = await waiting.graph("not-there")
    pod = await waiting.ready_pod("not-there")
    assert (await answer(waiting, pod))["log"] == []
    await waiting.cluster.delete(GRAPHS, graph)
