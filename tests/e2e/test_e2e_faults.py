"""What goes wrong loses nothing: corrupt artifacts, agents killed at any moment."""

import asyncio
import os
import signal

import pytest

from chrek_agent.store.store import Store
from kubectl_chrek.cluster.resources import PODS


def _manifest(lab, checkpoint):
    return lab.store / checkpoint.hash / checkpoint.status.artifact.generation / "manifest.json"


def _pack_of(part):
    """The pack, and the offset in it, of the first chunk of a part of the artifact."""

    def find(lab, checkpoint):
        artifact = checkpoint.status.artifact
        with Store.at(lab.store).open(checkpoint.hash, artifact.generation, artifact.digest) as opened:
            manifest = opened.manifest
            # Where the agent had to leave the dump to CRIU, memory is in the images.
            runs = manifest.memory or [manifest.files["images/pages-1.img"]]
            content = runs[0] if part == "memory" else manifest.files[part]
            place = next(iter(opened.chunks(content))).place
            return place.path, place.offset

    return find


@pytest.mark.parametrize(
    "find",
    [
        pytest.param(lambda lab, checkpoint: (_manifest(lab, checkpoint), 100), id="manifest"),
        *(pytest.param(_pack_of(part), id=part) for part in ("memory", "images/inventory.img", "rootfs.tar", "shm.tar")),
    ],
)
async def test_a_flipped_byte_starts_the_next_pod_cold(lab, find):
    name = await lab.prewarm("probe/flip")
    checkpoint = await lab.settled(name)
    file, offset = find(lab, checkpoint)
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)

    await lab.graph(name)
    pod = await lab.ready_pod(name)
    reason = lab.startup(pod)["reason"]
    assert lab.startup(pod)["result"] == "cold"
    assert any(word in reason for word in ("corrupt", "damaged", "has changed"))
    assert f"Falling back to cold start: {reason}" in await lab.cluster.logs(pod["metadata"]["name"])
    assert reason in await lab.event(pod["metadata"]["name"], "ColdStart")
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
