"""The ChrekNode that an agent keeps, and the verifications that it is asked for."""

import asyncio
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.agent import Agent
from chrek_agent.config import AgentConfig
from chrek_agent.errors import AgentError, ArtifactError, SignatureError
from chrek_agent.node import writer as module
from chrek_agent.node.orphans import orphans
from chrek_agent.node.storage import measure, quantity, shares, store_status
from chrek_agent.node.writer import NodeWriter, clock_skew, publish
from chrek_agent.store.model import Owner
from chrek_agent.store.usage import ArtifactUsage, Usage
from chrek_agent.tasks import upkeep, verification
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.sources import Sources
from chrek_agent.tasks.verification import Verifier, is_asked
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from kubectl_chrek.api.errors import ClusterError, ConflictError, NotFoundError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster import Event
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS
from kubectl_chrek.ops.formatting import parse_bytes

NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
OWNER = Owner(namespace="ns", name="cp", uid="u")


class Cluster:
    """Nodes, ChrekNodes and one checkpoint; `wrote` is set at each status."""

    def __init__(self):
        self.objects, self.statuses, self.refusals, self.wrote = {}, [], [], asyncio.Event()

    async def get(self, resource, name, namespace=None):
        if (resource.plural, name) not in self.objects:
            raise NotFoundError("none")
        return self.objects[resource.plural, name]

    async def create(self, resource, body, namespace=None):
        assert namespace == ""
        if (resource.plural, body["metadata"]["name"]) in self.objects:
            raise ConflictError("exists")
        body["metadata"]["resourceVersion"] = "1"
        self.objects[resource.plural, body["metadata"]["name"]] = body
        return body

    async def patch(self, resource, name, patch, namespace=None, *, type="merge", subresource=""):  # noqa: A002 - the client's
        if self.refusals:
            raise self.refusals.pop(0)
        if (resource.plural, name) not in self.objects:
            raise NotFoundError("none")
        self.statuses.append(deepcopy(patch["status"]))
        self.wrote.set()

    async def list(self, resource, namespace=None):
        return [self.objects["dynamocheckpoints", "cp"]] if ("dynamocheckpoints", "cp") in self.objects else []

    async def server_time(self):
        return datetime.now(UTC) - timedelta(seconds=30)


def used(**unique):
    artifacts = [ArtifactUsage("h", generation, OWNER, 10, 9, own, 9 - own) for generation, own in unique.items()]
    return Usage(logical=20, stored=12, unique=5, shared=4, reclaimable=3, artifacts=artifacts, unreadable=[])


class Measured:
    def usage(self):
        return used(g=5)


class Criu:
    async def version(self):
        raise AgentError("does not run")


def test_what_nobody_owns_is_counted_and_the_largest_named():
    owners = [("ns", "kept", "gone"), ("ns", "", ""), ("far", "x", "other"), ("ns", "mine", "u")]
    artifacts = [
        ArtifactUsage("h", f"g-{number}", Owner(namespace=namespace, name=name, uid=uid), 10, 9, number, 9 - number)
        for number, (namespace, name, uid) in enumerate(owners, start=1)
    ]
    usage = Usage(logical=40, stored=12, unique=5, shared=4, reclaimable=3, artifacts=artifacts, unreadable=[])
    body = {"metadata": {"name": "mine", "namespace": "ns", "uid": "u"}}
    found = orphans([body], usage, "")
    assert (found["artifacts"], found["bytes"]) == (3, 6)
    assert [each["artifact"] for each in found["listed"]] == ["h/g-3", "h/g-2", "h/g-1"]
    assert found["listed"][2] == {"artifact": "h/g-1", "namespace": "ns", "name": "kept", "bytes": 1}
    # An agent of one namespace cannot know who owns what in another.
    assert orphans([body], usage, "ns")["artifacts"] == 2
    assert read_node({"metadata": {"name": "n"}, "status": {"store": {"orphans": found}}}).status.store.orphans.listed[0].bytes == 3


async def test_a_nodes_object_belongs_to_its_node():
    cluster = Cluster()
    cluster.objects["nodes", "n"] = {"metadata": {"name": "n", "uid": "u"}}
    await publish(cluster, "n", {"agent": {}})
    body = cluster.objects["chreknodes", "n"]
    assert body["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]
    await publish(cluster, "n", {"agent": {"version": "2"}})
    assert [status["agent"] for status in cluster.statuses] == [{}, {"version": "2"}]


async def test_a_deleted_object_is_made_again():
    cluster = Cluster()
    await publish(cluster, "n", {})
    del cluster.objects["chreknodes", "n"]
    await publish(cluster, "n", {})
    assert "ownerReferences" not in cluster.objects["chreknodes", "n"]["metadata"]


async def test_an_agent_writes_at_once_and_when_something_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 3600.0)
    cluster, instruments = Cluster(), Instruments(Operations(), Metrics("n"))
    writer = NodeWriter(AgentConfig(node="n", base_path=tmp_path, state=tmp_path), cluster, Criu(), Measured(), instruments)
    assert writer.trouble == "the node has not been checked yet"
    task = asyncio.create_task(writer.run())
    await cluster.wrote.wait()
    first = read_node({"metadata": {"name": "n"}, "status": cluster.statuses[0]}).status
    assert first.agent.heartbeat_at is not None
    assert first.platform.kernel
    assert first.store.free_bytes > 0
    assert first.operations == []
    checks = {check.name: check.verdict for check in first.checks}
    assert (checks["criu"], checks["store"], checks["clock"]) == ("fail", "ok", "warn")
    assert writer.trouble.startswith("criu: CRIU does not run from /")
    assert instruments.metrics.registry.get_sample_value("chrek_check_ok", {"check": "criu"}) == 0
    cluster.wrote.clear()
    with instruments.operations.running("restore", "ns", "cp", "p"):
        await cluster.wrote.wait()
    assert cluster.statuses[1]["operations"][0]["checkpoint"] == "cp"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Watched(Cluster):
    """One source pod runs; a checkpoint is deleted when the test says so."""

    def __init__(self):
        super().__init__()
        self.deleted = asyncio.Event()

    async def watch(self, resource, namespace=None, *, labels="", fields=""):
        if resource is PODS and "source" in labels:
            status = {
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "main", "containerID": "containerd://c", "state": {"running": {}}}],
            }
            pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "p"}, "spec": {"containers": [{"name": "main"}]}}
            yield Event("ADDED", pod | {"status": status})
        if resource is CHECKPOINTS:
            await self.deleted.wait()
            yield Event("DELETED", {"metadata": {"name": "cp", "namespace": "ns", "uid": "u"}})
        await asyncio.Event().wait()

    async def stored(self, wanted):
        """Waits until the ChrekNode tells this of the store."""
        async with asyncio.timeout(10):
            while not self.statuses or self.statuses[-1]["store"]["storedBytes"] != wanted:
                self.wrote.clear()
                await self.wrote.wait()


async def test_what_the_store_holds_is_told_when_that_has_changed(tmp_path, monkeypatch):
    """After a capture, after a deletion and after a sweep; never because time has passed."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 3600.0)
    monkeypatch.setattr(module, "SLOW_SECONDS", 1e12)  # Longer than any machine has been up.
    cluster, held, captured, swept = Watched(), [0], asyncio.Event(), asyncio.Event()

    async def capture(sources, pod):
        await captured.wait()
        held[0] = 12

    async def upkeep_run(store, seconds, done):
        await swept.wait()
        held[0] = 5
        done()

    monkeypatch.setattr(Sources, "handle", capture)
    monkeypatch.setattr(upkeep, "run", upkeep_run)
    monkeypatch.setattr("chrek_agent.store.store.Store.usage", lambda store: replace(used(g=5), stored=held[0]))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Agent(AgentConfig(node="n", base_path=tmp_path, state=tmp_path), cluster).run())
        await cluster.stored(0)
        captured.set()
        await cluster.stored(12)
        held[0] = 7
        cluster.deleted.set()
        await cluster.stored(7)
        swept.set()
        await cluster.stored(5)
        task.cancel()


async def test_an_api_server_that_refuses_is_asked_again(tmp_path):
    cluster, instruments = Cluster(), Instruments(Operations(), Metrics("n"))
    cluster.refusals = [ClusterError("away")]
    writer = NodeWriter(AgentConfig(node="n", base_path=tmp_path, state=tmp_path), cluster, Criu(), Measured(), instruments)
    task = asyncio.create_task(writer.run())
    while cluster.refusals:
        await asyncio.sleep(0.01)
    writer.stale()
    await cluster.wrote.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_how_far_the_clock_is_off():
    async def none():
        return None

    async def away():
        raise ClusterError("away")

    assert await clock_skew(Cluster().server_time) == pytest.approx(30, abs=1)
    assert await clock_skew(none) is None
    assert await clock_skew(away) is None


def test_a_store_that_is_away_is_not_known(tmp_path):
    class Away:
        def usage(self):
            raise OSError(5, "Input/output error")

    assert measure(Away()) is None
    status = store_status(tmp_path / "missing", None, NOW)
    assert {key: value for key, value in status.items() if value is not None} == {
        "type": "directory", "location": str(tmp_path / "missing")
    }  # fmt: skip
    # A figure of earlier would stay in the ChrekNode unless it is taken back.
    assert {"freeBytes", "free", "storedBytes", "artifacts", "measuredAt"} <= status.keys()


def test_a_store_is_measured(tmp_path):
    status = store_status(tmp_path, measure(Measured()), NOW)
    sizes = (status["logicalBytes"], status["storedBytes"], status["reclaimableBytes"], status["artifacts"])
    assert sizes == (20, 12, 3, 1)
    assert status["freeBytes"] <= status["totalBytes"]
    assert status["free"] == quantity(status["freeBytes"])
    assert read_node({"metadata": {"name": "n"}, "status": {"store": status}}).status.store.measured_at == NOW


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (10 * 2**10 - 1, "10239"),
        (10 * 2**10, "10Ki"),
        (412 * 2**30 + 2**29, "412Gi"),
        (1497 * 2**30, "1497Gi"),
        (10 * 2**40, "10Ti"),
        (99 * 2**60, "101376Pi"),
    ],
)
def test_a_size_is_told_as_a_quantity_that_is_never_more(size, text):
    assert quantity(size) == text
    assert parse_bytes(text) <= size


def test_whose_share_of_the_store_has_changed():
    def body(**artifact):
        return {"metadata": {"name": artifact.get("generation", "")}, "status": {"artifact": artifact or None}}

    taken = {"uniqueBytes": 5, "sharedBytes": 4, "packs": 0}
    bodies = [
        body(generation="a", node="n", **taken),
        body(generation="b", node="n", **taken),
        body(generation="b", node="other"),
        body(generation="gone", node="n"),
        body(),
        {"metadata": {"name": "new"}},
    ]
    assert shares(bodies, used(a=5, b=2), "n") == [(bodies[1], {"uniqueBytes": 2, "sharedBytes": 7, "packs": 0})]


CHECKPOINT = {
    "metadata": {
        "name": "cp", "namespace": "ns", "uid": "u", "resourceVersion": "5", "annotations": {"nvidia.com/chrek-verify": "7"}
    },
    "spec": {"identity": {"model": "m", "backendFramework": "vllm"}},
    "status": {"phase": "Ready", "artifact": {"generation": "g-1", "digest": "d"}},
}  # fmt: skip


def asked(**verification_fields):
    return CHECKPOINT | {"status": CHECKPOINT["status"] | {"verification": verification_fields}}


def test_when_a_verification_is_asked_for():
    assert is_asked(CHECKPOINT, NOW)
    assert is_asked(asked(nonce="6", result="ok"), NOW)
    assert not is_asked(asked(nonce="7", result="ok"), NOW)
    assert not is_asked(asked(nonce="7", result="running", at="2026-01-29T10:04:30Z"), NOW)
    assert is_asked(asked(nonce="7", result="running", at="2026-01-29T10:03:30Z"), NOW)
    recent = asked(nonce="7", result="running", at="2026-01-29T10:04:59Z", node="n")
    assert is_asked(recent, NOW, "n", idle=True), "our agent was started anew meanwhile"
    assert not is_asked(recent, NOW, "n")
    assert not is_asked(recent, NOW, "other", idle=True)
    assert not is_asked(CHECKPOINT | {"status": {"phase": "Creating"}}, NOW)
    assert not is_asked(CHECKPOINT | {"metadata": CHECKPOINT["metadata"] | {"deletionTimestamp": "x"}}, NOW)
    assert not is_asked(CHECKPOINT | {"metadata": {"name": "cp"}}, NOW)


class Store:
    def __init__(self, error=None, gate=None):
        self.error, self.gate = error, gate

    def verify(self, identity_hash, generation, digest, progress=None):
        progress(3, 7)
        if self.gate is not None:
            self.gate.result(timeout=10)
        if self.error is not None:
            raise self.error

    def signer(self, identity_hash, generation):
        raise SignatureError(f"artifact {generation} is not signed")


async def answer(cluster, store):
    cluster.objects["dynamocheckpoints", "cp"] = deepcopy(CHECKPOINT)
    verifier = Verifier(cluster, store, Reporter(cluster, "n"), Metrics("n"), "n")
    assert verifier.is_asked(CHECKPOINT)
    await verifier.handle("u", "cp", "ns")


@pytest.mark.parametrize(
    ("error", "result", "message"),
    [
        (None, "ok", ""),
        (ArtifactError("chunk 5 is bad"), "corrupt", "chunk 5 is bad"),
        (OSError(5, "Input/output error"), "failed", "the store cannot be read: Input/output error"),
    ],
)
async def test_a_verification_is_answered(error, result, message):
    cluster = Cluster()
    await answer(cluster, Store(error))
    first, last = (status["verification"] for status in cluster.statuses[:2])
    assert (first["result"], first["nonce"], first["node"]) == ("running", "7", "n")
    assert (last["result"], last["message"], last["bytes"], last["bytesTotal"]) == (result, message, 3, 7)
    withdrawn = [status for status in cluster.statuses if "artifact" in status]
    assert [status["artifact"] for status in withdrawn] == ([None] if result == "corrupt" else [])


async def test_only_one_agent_answers():
    cluster = Cluster()
    cluster.refusals = [ConflictError("changed")]
    await answer(cluster, Store(AssertionError()))
    assert cluster.statuses == []


async def test_progress_is_told_meanwhile(monkeypatch):
    monkeypatch.setattr(verification, "PROGRESS_SECONDS", 0.01)
    cluster, gate = Cluster(), Future()
    task = asyncio.create_task(answer(cluster, Store(gate=gate)))
    while len(cluster.statuses) < 2:
        await asyncio.sleep(0.005)
    gate.set_result(None)
    await task
    assert cluster.statuses[1]["verification"]["result"] == "running"
    assert cluster.statuses[-1]["verification"]["result"] == "ok"


class Many(Cluster):
    """Checkpoints that were all asked for at once."""

    def __init__(self, number):
        super().__init__()
        self.claims = []
        for each in range(number):
            body = deepcopy(CHECKPOINT)
            body["metadata"] |= {"name": f"cp-{each}", "uid": f"u-{each}"}
            self.objects["dynamocheckpoints", f"cp-{each}"] = body

    async def patch(self, resource, name, patch, namespace=None, **options):
        await super().patch(resource, name, patch, namespace, **options)
        self.objects[resource.plural, name]["status"] |= patch["status"]
        if patch["status"]["verification"]["result"] == "running":
            self.claims.append(name)


async def test_those_that_wait_for_their_turn_are_left_to_other_agents():
    cluster, gate, begun = Many(6), Future(), []

    class Slow(Store):
        def verify(self, identity_hash, generation, digest, progress=None):
            begun.append(generation)
            super().verify(identity_hash, generation, digest, progress)

    verifier = Verifier(cluster, Slow(gate=gate), Reporter(cluster, "n"), Metrics("n"), "n")
    bodies = list(cluster.objects.values())
    assert all(map(verifier.is_asked, bodies))
    assert not any(map(verifier.is_asked, bodies)), "they wait already"
    tasks = [asyncio.create_task(verifier.handle(f"u-{each}", f"cp-{each}", "ns")) for each in range(6)]
    while len(begun) < verification.AT_ONCE:
        await asyncio.sleep(0.001)
    assert cluster.claims == ["cp-0", "cp-1"]
    assert not verifier.is_asked(bodies[0]), "we are at it"
    done = {"nonce": "7", "result": "ok"}
    bodies[3]["status"]["verification"] = bodies[4]["status"]["verification"] = done
    assert not verifier.is_asked(bodies[3]), "another agent has answered, and the watch tells of it"
    del cluster.objects["dynamocheckpoints", "cp-5"]
    gate.set_result(None)
    await asyncio.gather(*tasks)
    assert cluster.claims == ["cp-0", "cp-1", "cp-2"]
    assert [body["status"]["verification"]["result"] for body in bodies[:5]] == ["ok"] * 5
