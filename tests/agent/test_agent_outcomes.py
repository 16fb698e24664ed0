"""Cold start always wins: what ends an attempt, what is remembered of it, and what everybody is told."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from chrek_agent.config import AgentConfig
from chrek_agent.errors import ArtifactError, CaptureError, DeadlineError, IncompatibleError, RestoreError
from chrek_agent.restore import Restored
from chrek_agent.tasks import targets as module
from chrek_agent.tasks.attempts import Attempts
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.targets import Targets, cause_of, lived
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from chrek_agent.telemetry.timing import Phases
from kubectl_chrek.api.compatibility import Compatibility
from kubectl_chrek.api.errors import ClusterError, NotFoundError

POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"nvidia.com/checkpoint-name": "cp"}},
    "spec": {"containers": [{"name": "main"}]},
}
CHECKPOINT = {
    "metadata": {"name": "cp", "namespace": "ns", "uid": "c", "resourceVersion": "5"},
    "spec": {"identity": {"model": "m", "backendFramework": "vllm"}},
    "status": {"phase": "Ready", "restores": 3, "artifact": {"generation": "g-1", "digest": "d"}},
}


class Cluster:
    def __init__(self):
        self.objects = {("dynamocheckpoints", "cp"): CHECKPOINT, ("pods", "p"): POD}
        self.statuses, self.annotations, self.events = [], [], []

    async def get(self, resource, name, namespace=None):
        if (resource.plural, name) not in self.objects:
            raise NotFoundError("gone")
        return self.objects[resource.plural, name]

    async def patch(self, resource, name, patch, namespace=None, *, type="merge", subresource=""):  # noqa: A002 - the client's
        if subresource:
            self.statuses.append(patch["status"])
        else:
            self.annotations.append(json.loads(patch["metadata"]["annotations"]["nvidia.com/chrek-startup"]))

    async def create(self, resource, body, namespace=None):
        self.events.append(body["reason"])


class Restores:
    """A restore that ends as a test says; `calls` counts them."""

    def __init__(self):
        self.calls, self.result = 0, Restored(1, 1.5, {})

    async def record(self, *arguments):
        return Compatibility()

    async def run(self, *arguments, namespace, check):
        self.calls += 1
        if isinstance(self.result, Exception):
            raise self.result
        if self.result is None:
            await asyncio.Event().wait()
        return self.result


class Gate:
    error = None

    async def check(self, *arguments):
        if self.error:
            raise self.error


@pytest.fixture
def world(make_container, signal_directory, tmp_path, monkeypatch):
    container = make_container()
    monkeypatch.setattr(module, "find_container", lambda *_: container)
    (signal_directory / "waiting").write_text(json.dumps({"start": container.init_start}))

    class World:
        def __init__(self):
            self.cluster, self.restore, self.gate = Cluster(), Restores(), Gate()
            self.instruments = Instruments(Operations(), Metrics("n"))
            self.config = AgentConfig(node="n", state=tmp_path, attempt_seconds=0.05, early_seconds=0.0)
            self.fresh()

        def fresh(self):
            reporter = Reporter(self.cluster, "n")
            self.targets = Targets(self.config, self.cluster, self.restore, reporter, self.gate, self.instruments)

        async def handle(self):
            (signal_directory / "outcome").unlink(missing_ok=True)
            await self.targets.handle(POD)
            path = signal_directory / "outcome"
            return json.loads(path.read_text()) if path.exists() else None

        def counted(self, name, **labels):
            return self.instruments.metrics.registry.get_sample_value(name, labels)

    return World()


async def test_what_cannot_run_here_is_refused_before_anything_is_touched(world):
    world.gate.error = IncompatibleError("kernel: captured with kernel 6.8, here it is the older 5.15")
    outcome = await world.handle()
    assert outcome == {"result": "cold", "reason": "kernel: captured with kernel 6.8, here it is the older 5.15"}
    assert world.restore.calls == 0
    assert world.cluster.statuses[0]["lastRestore"]["cause"] == "Incompatible"
    assert world.cluster.statuses[0]["coldStartsByCause"] == {"Incompatible": 1}
    assert world.cluster.events == ["ColdStart"]
    assert world.counted("chrek_cold_starts_total", cause="Incompatible") == 1
    world.gate.error = None
    await world.handle()
    assert world.restore.calls == 1  # A pod that is compatible may come to the same node.


async def test_a_restore_that_does_not_end_means_cold_and_is_not_tried_again(world):
    world.restore.result = None
    assert (await world.handle())["reason"] == "the restore did not finish in 0.05 s"
    assert world.cluster.statuses[0]["lastRestore"]["cause"] == "DeadlineExceeded"
    assert "it failed on this node before" in (await world.handle())["reason"]
    assert world.restore.calls == 1
    assert world.cluster.statuses[1]["lastRestore"]["cause"] == "TriedBefore"


async def test_a_failure_is_remembered_over_a_restart_of_the_agent(world):
    world.restore.result = RestoreError("CRIU restore failed")
    await world.handle()
    world.fresh()
    assert (await world.handle())["reason"] == "it failed on this node before: CRIU restore failed"
    assert world.restore.calls == 1


async def test_a_worker_that_dies_early_was_not_restored(world):
    world.restore.result = Restored(987654, 1.5, {})  # No process has this PID.
    await world.handle()
    assert world.cluster.events == ["RestoreSucceeded", "RestoreFailed"]
    restored, died = world.cluster.statuses
    assert (restored["restores"], died["restores"]) == (4, 2)  # The stub's status never changes: 3 + 1, 3 - 1.
    assert (died["lastRestore"]["result"], died["lastRestore"]["cause"]) == ("failed", "DiedEarly")
    assert world.cluster.annotations[-1]["result"] == "failed"
    assert world.counted("chrek_restores_total", result="died") == 1
    assert "the restored worker ended after" in (await world.handle())["reason"]
    assert world.restore.calls == 1


async def test_the_next_container_waits_until_the_death_of_the_last_worker_is_noted(world, monkeypatch):
    died = asyncio.Event()

    async def lived(*_):
        await died.wait()
        return 1.0

    monkeypatch.setattr(module, "lived", lived)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(world.targets.handle(POD))
        while not world.restore.calls:
            await asyncio.sleep(0)
        following = group.create_task(world.handle())
        for _ in range(200):
            await asyncio.sleep(0)
        died.set()
    assert "it failed on this node before" in following.result()["reason"]
    assert world.restore.calls == 1


@pytest.mark.parametrize("change", [{"deletionTimestamp": "2026-01-29T10:05:00Z"}, {"uid": "another"}, None])
async def test_a_pod_that_leaves_has_not_failed(world, change):
    world.restore.result = Restored(987654, 1.5, {})
    if change is None:
        del world.cluster.objects["pods", "p"]
    else:
        world.cluster.objects["pods", "p"] = POD | {"metadata": POD["metadata"] | change}
    await world.handle()
    assert world.cluster.events == ["RestoreSucceeded"]


async def test_how_long_a_worker_lived(make_container, monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    container = make_container(os.getpid())
    inner = next(p.inner for p in module.processes.namespace_members(os.getpid()) if p.pid == child.pid)
    assert await lived(container, inner, 0.02) is None
    waiting = asyncio.create_task(lived(container, inner, 60.0))
    await asyncio.sleep(0)
    child.send_signal(signal.SIGKILL)
    assert await waiting is not None
    child.communicate()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ArtifactError("x"), "ArtifactCorrupt"),
        (IncompatibleError("x"), "Incompatible"),
        (DeadlineError("x"), "DeadlineExceeded"),
        (RestoreError("x"), "RestoreFailed"),
        (RestoreError("x", cause="TriedBefore"), "TriedBefore"),
        (ClusterError("x"), "ApiServerUnreachable"),
        (OSError("x"), "RestoreFailed"),
        (CaptureError("x"), "RestoreFailed"),
    ],
)
def test_every_reason_has_a_stable_cause(error, cause):
    assert cause_of(error) == cause


def test_a_failure_expires(tmp_path):
    attempts = Attempts(tmp_path / "failed.json", seconds=100)
    assert attempts.failed("g") == ""
    attempts.note("g", "why")
    assert Attempts(tmp_path / "failed.json", seconds=100).failed("g") == "why"
    assert Attempts(tmp_path / "failed.json", seconds=0).failed("g") == ""
    (tmp_path / "failed.json").write_text("[]")
    assert Attempts(tmp_path / "failed.json", seconds=100).failed("g") == ""


def test_a_disk_that_refuses_does_not_forget(tmp_path):
    attempts = Attempts(tmp_path / "missing" / "failed.json", seconds=100)
    attempts.note("g", "why")
    assert attempts.failed("g") == "why"


async def test_a_phase_has_a_deadline():
    phases = Phases(limits={"verify": 0.01})
    with pytest.raises(DeadlineError, match=r"phase verify did not finish in 0.01 s"), phases.phase("verify"):
        await asyncio.Event().wait()
    with phases.phase("other"):
        await asyncio.sleep(0)
    assert list(phases.summary()) == ["verify", "other", "unaccounted"]


async def test_a_cancellation_from_outside_is_no_deadline():
    async def work():
        with Phases(limits={"verify": 60}).phase("verify"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_phase_that_ends_in_time_leaves_no_timer():
    phases = Phases(limits={"verify": 0.02})
    with phases.phase("verify"):
        pass
    await asyncio.sleep(0.05)
    phases.moved("verify", 7)
    assert phases.bytes == {"verify": 7}
