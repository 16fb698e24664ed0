"""A worker captured and brought back, through operator, agent and shim."""

import os
import signal
from pathlib import Path

from kubectl_chrek.cluster.resources import CHECKPOINTS, JOBS, PODS


async def test_a_restored_worker_is_the_captured_process(lab):
    name = await lab.prewarm("probe/roundtrip")
    checkpoint = await lab.settled(name)
    assert checkpoint.phase == "Ready", checkpoint.status.message
    assert checkpoint.status.location == f"{lab.store}/{checkpoint.hash}"
    assert checkpoint.status.identity_hash == checkpoint.hash

    await lab.graph(name)
    first = await lab.ready_pod(name)
    await lab.graph(name)
    second = await lab.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))

    one, two = lab.ask(first), lab.ask(second)
    assert lab.startup(first)["result"] == lab.startup(second)["result"] == "restored"
    assert one["token"] == two["token"]
    assert one["memory"] == two["memory"]
    assert one["pid"] >= 1000
    for pod, answer in ((first, one), (second, two)):
        assert answer["hostname"] == pod["metadata"]["name"]
        assert answer["uptime"] > 0
        assert answer["counter"] > 0
        assert answer["file"] == answer["shm"] == answer["token"]
        assert answer["deleted"]
        assert answer["marker"]


async def test_a_restored_workers_output_is_the_new_pods_log(lab):
    name = await lab.prewarm("probe/log")
    await lab.settled(name)
    await lab.graph(name)
    pod = await lab.ready_pod(name)
    lab.ask(pod, "/say/hello-from-the-restored")
    said = []
    async for line in lab.cluster.log_lines(pod["metadata"]["name"], follow=True):
        said.append(line)
        if "hello-from-the-restored" in line:
            break
    log = "\n".join(said)
    assert f"chrek: restored from checkpoint {name}" in log
    assert "started" not in log
    assert "Falling back" not in log


async def test_signals_go_down_and_the_exit_code_comes_up(lab):
    name = await lab.prewarm("probe/exit")
    await lab.settled(name)
    await lab.graph(name)
    pod = await lab.ready_pod(name)
    inner = next(
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if _hostname(path) == pod["metadata"]["name"] and b"chrek_worker.pyz" in (path / "cmdline").read_bytes()
    )
    os.kill(inner, signal.SIGTERM)

    def ended(body):
        if body["metadata"]["name"] != pod["metadata"]["name"]:
            return False
        last = body["status"]["containerStatuses"][0].get("lastState", {}).get("terminated")
        return last is not None

    body = await lab.until(PODS, ended)
    assert body["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 7


def _hostname(path):
    try:
        environment = (path / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((item[9:].decode() for item in environment if item.startswith(b"HOSTNAME=")), "")


async def test_a_pod_made_before_its_checkpoint_is_ready_starts_cold_and_stays(lab):
    name = await lab.prewarm("probe/early", "--mib", "1")
    await lab.graph(name)
    pod = await lab.ready_pod(name)
    assert lab.startup(pod)["result"] == "cold"
    assert f"checkpoint {name} is" in lab.startup(pod)["reason"]
    assert f"Falling back to cold start: checkpoint {name} is" in await lab.cluster.logs(pod["metadata"]["name"])
    assert (await lab.settled(name)).phase == "Ready"
    again = await lab.cluster.get(PODS, pod["metadata"]["name"])
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    assert again["status"]["containerStatuses"][0]["restartCount"] == 0


async def test_a_reference_to_nothing_starts_cold_and_says_so(lab):
    graph = await lab.graph("no-such-checkpoint")
    pod = await lab.ready_pod("no-such-checkpoint")
    assert lab.startup(pod) | {"seconds": 0} == {
        "checkpoint": "no-such-checkpoint",
        "result": "cold",
        "reason": "checkpoint no-such-checkpoint does not exist",
        "cause": "CheckpointNotFound",
        "seconds": 0,
    }
    assert "no-such-checkpoint does not exist" in await lab.event(pod["metadata"]["name"], "ColdStart")
    assert "no-such-checkpoint" in await lab.event(graph, "CheckpointNotFound")


async def test_a_worker_that_never_gets_ready_fails_its_checkpoint_with_the_reason(lab):
    name = await lab.prewarm("probe/never", "--never-ready", activeDeadlineSeconds=3)
    checkpoint = await lab.settled(name)
    assert checkpoint.phase == "Failed"
    assert "did not become ready within 3 s" in checkpoint.status.message
    assert "did not become ready within 3 s" in await lab.event(name, "CheckpointFailed")


async def test_deleting_a_checkpoint_deletes_its_artifact_and_its_job(lab):
    name = await lab.prewarm("probe/delete")
    checkpoint = await lab.settled(name)
    assert (lab.store / checkpoint.hash).is_dir()
    await lab.cluster.delete(CHECKPOINTS, name)
    async for event in lab.cluster.watch(CHECKPOINTS):
        if event.type == "DELETED" or (event.type == "SYNCED" and not await lab.cluster.list(CHECKPOINTS)):
            break
    assert not (lab.store / checkpoint.hash).exists()
    assert [job["metadata"]["name"] for job in await lab.cluster.list(JOBS) if not job["metadata"].get("deletionTimestamp")] == []
