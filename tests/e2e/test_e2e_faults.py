"""What goes wrong loses nothing: corrupt artifacts, agents killed at any moment."""

import asyncio
import os
import signal

import pytest

from kubectl_chrek.cluster.resources import PODS


@pytest.mark.parametrize("path", ["manifest.json", "images/pages-1.img", "images/inventory.img", "rootfs.tar", "shm.tar"])
async def test_a_flipped_byte_starts_the_next_pod_cold(lab, path):
    name = await lab.prewarm("probe/flip")
    checkpoint = await lab.settled(name)
    file = lab.store / checkpoint.hash / checkpoint.status.artifact.generation / path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    await lab.graph(name)
    pod = await lab.ready_pod(name)
    reason = lab.startup(pod)["reason"]
    assert lab.startup(pod)["result"] == "cold"
    assert "corrupt" in reason or "damaged" in reason
    assert f"Falling back to cold start: {reason}" in await lab.cluster.logs(pod["metadata"]["name"])
    assert any(event.startswith("ColdStart: ") and reason in event for event in await lab.events(pod["metadata"]["name"]))
    failed = await lab.settled(name)
    while failed.phase != "Failed":
        await asyncio.sleep(0.05)
        failed = await lab.settled(name)
    assert reason in failed.status.message
    assert failed.status.last_restore.reason == reason
    assert failed.status.artifact is None


async def _kill_agent_during(lab, kind):
    """Kills the agent with an operation of this kind under way."""
    journal = lab.state / "agent" / "journal"
    while not any(f'"{kind}"' in path.read_text() and '"group": 0' not in path.read_text() for path in journal.glob("*.json")):
        await asyncio.sleep(0.001)
    os.kill(lab.agent_pid(), signal.SIGKILL)


async def test_an_agent_killed_during_a_capture_leaves_nothing_stopped_and_nothing_half(lab):
    name = await lab.prewarm("probe/kill-capture", "--mib", "400")
    await _kill_agent_during(lab, "capture")
    checkpoint = await lab.settled(name)
    assert checkpoint.phase == "Ready", checkpoint.status.message
    generations = [path.name for path in (lab.store / checkpoint.hash).iterdir()]
    assert generations == [checkpoint.status.artifact.generation]
    assert list((lab.store / ".staging").iterdir()) == []
    await lab.graph(name, "--mib", "400")
    pod = await lab.ready_pod(name)
    assert lab.startup(pod)["result"] == "restored"
    assert lab.stopped() == []


async def test_an_agent_killed_during_a_restore_starts_the_pod_cold(lab):
    name = await lab.prewarm("probe/kill-restore", "--mib", "400")
    checkpoint = await lab.settled(name)
    assert checkpoint.phase == "Ready", checkpoint.status.message
    graph = await lab.graph(name, "--mib", "400")
    await _kill_agent_during(lab, "restore")

    def ready(pod):
        conditions = pod.get("status", {}).get("conditions") or []
        mine = pod["metadata"].get("labels", {}).get("nvidia.com/dynamo-graph-deployment-name") == graph
        return mine and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    pod = await lab.until(PODS, ready)
    assert lab.ask(pod)["pid"] == 1
    assert "Falling back to cold start: the agent died during the restore" in await lab.cluster.logs(pod["metadata"]["name"])
    assert lab.stopped() == []
    assert list((lab.state / "agent" / "journal").iterdir()) == []
