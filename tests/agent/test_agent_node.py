"""The ChrekNode that an agent keeps, and the verifications that it is asked for."""

import asyncio
from concurrent.futures import Future
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.config import AgentConfig
from chrek_agent.errors import AgentError, ArtifactError
from chrek_agent.node import writer as module
from chrek_agent.node.storage import measure, shares, store_status
from chrek_agent.node.writer import NodeWriter, clock_skew, publish
from chrek_agent.store.usage import ArtifactUsage, Usage
from chrek_agent.tasks import verification
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.verification import Verifier, is_asked
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from kubectl_chrek.api.errors import ClusterError, ConflictError, NotFoundError
from kubectl_chrek.api.node import read_node

NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)


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
        self.objects[resource.plural, body["metadata"]["name"]] = body

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
    artifacts = [ArtifactUsage("h", generation, None, 10, 9, own, 9 - own) for generation, own in unique.items()]
    return Usage(logical=20, stored=12, unique=5, shared=4, reclaimable=3, artifacts=artifacts, unreadable=[])


class Measured:
    def usage(self):
        return used(g=5)


class Criu:
    async def version(self):
        raise AgentError("does not run")


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
    status = store_status(tmp_path / "missing", None)
    assert (status["location"], status["freeBytes"], status["storedBytes"]) == (str(tmp_path / "missing"), None, None)


def test_a_store_is_measured(tmp_path):
    status = store_status(tmp_path, measure(Measured()))
    sizes = (status["logicalBytes"], status["storedBytes"], status["reclaimableBytes"], status["artifacts"])
    assert sizes == (20, 12, 3, 1)
    assert status["freeBytes"] <= status["totalBytes"]


def test_whose_share_of_the_store_has_changed():
    def body(**artifact):
        return {"metadata": {"name": artifact.get("generation", "")}, "status": {"artifact": artifact or None}}

    bodies = [
        body(generation="a", node="n", uniqueBytes=5),
        body(generation="b", node="n", uniqueBytes=5),
        body(generation="b", node="other"),
        body(generation="gone", node="n"),
        body(),
        {"metadata": {"name": "new"}},
    ]
    assert shares(bodies, used(a=5, b=2), "n") == [(bodies[1], 2)]


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


def verifier(cluster, store):
    cluster.objects["dynamocheckpoints", "cp"] = deepcopy(CHECKPOINT)
    return Verifier(cluster, store, Reporter(cluster, "n"), Metrics("n"), "n")


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
    await verifier(cluster, Store(error)).handle(CHECKPOINT)
    first, last = (status["verification"] for status in cluster.statuses[:2])
    assert (first["result"], first["nonce"], first["node"]) == ("running", "7", "n")
    assert (last["result"], last["message"], last["bytes"], last["bytesTotal"]) == (result, message, 3, 7)
    withdrawn = [status for status in cluster.statuses if "artifact" in status]
    assert [status["artifact"] for status in withdrawn] == ([None] if result == "corrupt" else [])


async def test_only_one_agent_answers():
    cluster = Cluster()
    cluster.refusals = [ConflictError("changed")]
    await verifier(cluster, Store(AssertionError())).handle(CHECKPOINT)
    assert cluster.statuses == []


async def test_progress_is_told_meanwhile(monkeypatch):
    monkeypatch.setattr(verification, "PROGRESS_SECONDS", 0.01)
    cluster, gate = Cluster(), Future()
    task = asyncio.create_task(verifier(cluster, Store(gate=gate)).handle(CHECKPOINT))
    while len(cluster.statuses) < 2:
        await asyncio.sleep(0.005)
    gate.set_result(None)
    await task
    assert cluster.statuses[1]["verification"]["result"] == "running"
    assert cluster.statuses[-1]["verification"]["result"] == "ok"
