"""What a node's agent knows and refuses: the compatibility record, the gate, verification, early deaths, its ChrekNode."""

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES


async def test_a_record_is_kept_and_a_pod_that_differs_starts_cold(lab):
    name = await lab.prewarm("probe/gate")
    checkpoint = await lab.settled(name)
    record = checkpoint.status.artifact.compatibility
    assert record.argv[-1].endswith("probe_worker.py")
    assert (record.architecture, record.gpus) == (os.uname().machine, [])
    assert "/checkpoint-signal" in record.mounts
    assert checkpoint.status.artifact.stored_bytes > 0
    assert checkpoint.status.artifact.processes[0].name.startswith("python")

    def counted(body):
        measured = read_node(body).status.store.measured_at
        return measured is not None and measured > checkpoint.status.artifact.captured_at

    async with asyncio.timeout(60):  # The agent looks at its store again at the capture's end, not some minutes later.
        store = read_node(await lab.until(CHREK_NODES, counted)).status.store
    assert store.stored_bytes >= checkpoint.status.artifact.stored_bytes

    await lab.graph(name, "--mib", "8")
    pod = await lab.ready_pod(name)
    startup = lab.startup(pod)
    assert (startup["result"], startup["cause"]) == ("cold", "Incompatible")
    assert "captured without --mib, here with --mib 8" in startup["reason"]
    status = read_checkpoint(await lab.cluster.get(CHECKPOINTS, name)).status
    assert (status.cold_starts_by_cause, status.restores) == ({"Incompatible": 1}, 0)


async def test_a_verification_is_answered(lab):
    name = await lab.prewarm("probe/verify")
    await lab.settled(name)
    await lab.cluster.patch(CHECKPOINTS, name, {"metadata": {"annotations": {"nvidia.com/chrek-verify": "1"}}})

    def answered(body):
        found = read_checkpoint(body).status.verification
        return body["metadata"]["name"] == name and found is not None and found.result != "running"

    checkpoint = read_checkpoint(await lab.until(CHECKPOINTS, answered))
    verification = checkpoint.status.verification
    assert (verification.result, verification.nonce, verification.message) == ("ok", "1", "")
    assert verification.bytes == verification.bytes_total > 0


async def test_a_restored_worker_that_dies_at_once_was_not_restored(lab):
    name = await lab.prewarm("probe/death")
    await lab.settled(name)
    await lab.graph(name)
    pod = await lab.ready_pod(name)
    assert lab.startup(pod)["result"] == "restored"
    os.kill(worker(pod), signal.SIGKILL)
    assert "the restored worker ended after" in await lab.event(pod["metadata"]["name"], "RestoreFailed")

    def cold(body):
        found = read_checkpoint(body).status
        return body["metadata"]["name"] == name and found.cold_starts == 1

    status = read_checkpoint(await lab.until(CHECKPOINTS, cold)).status
    assert (status.last_restore.cause, status.restores) == ("TriedBefore", 0)


async def test_a_node_tells_of_itself(lab):
    node = read_node(await lab.until(CHREK_NODES, lambda body: bool(body.get("status", {}).get("checks"))))
    assert node.alive(datetime.now(UTC))
    assert node.status.store.location == str(lab.store)
    assert node.status.platform.criu
    assert {check.name: check.verdict for check in node.status.checks}["criu"] == "ok"


def worker(pod):
    """The host's PID of a pod's probe, less the shim that is its parent."""
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("//")[2]
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            ours = any(word.endswith(b"probe_worker.py") for word in words) and not any(word.endswith(b".pyz") for word in words)
            if ours and container in (path / "cgroup").read_text():
                return int(path.name)
    raise AssertionError("the worker is not there")
