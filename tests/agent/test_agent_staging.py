"""A node that is asked to have an artifact in its cache: when it is, what it says of it; and repairs that go from node to node."""

import os
from copy import deepcopy
from datetime import UTC, datetime

import pytest

from chrek_agent.errors import ArtifactError, SignatureError
from chrek_agent.store.cached import PieceCache
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store
from chrek_agent.tasks.mending import Mended
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.staging import Stager
from chrek_agent.tasks.verification import Verifier, is_asked
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ConflictError, NotFoundError, UsageError
from kubectl_chrek.api.repairing import Wish
from kubectl_chrek.api.staging import joined

NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
IDENTITY = {"model": "m", "backendFramework": "vllm"}


class Cluster:
    """One checkpoint; the first `conflicts` patches meet another writer's."""

    def __init__(self, body, conflicts=0):
        self.body, self.conflicts, self.statuses = body, conflicts, []

    async def get(self, resource, name, namespace=None):
        if self.body is None:
            raise NotFoundError("gone")
        return deepcopy(self.body)

    async def patch(self, resource, name, patch, namespace=None, *, subresource=""):
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError("changed")
        self.statuses.append(patch["status"])
        self.body["status"] |= patch["status"]


def checkpoint(stage="", artifact=None, **annotations):
    metadata = {"name": "cp", "namespace": "ns", "uid": "u", "resourceVersion": "5"}
    metadata["annotations"] = ({names.ANNOTATION_STAGE: stage} if stage else {}) | annotations
    body = {"metadata": metadata, "spec": {"identity": IDENTITY}, "status": {"phase": "Ready"}}
    body["status"]["artifact"] = artifact or {"generation": "g-1", "digest": "d"}
    return body


@pytest.fixture
def store(tmp_path):
    store = Store.at(tmp_path / "store")
    store.cache = PieceCache(tmp_path / "cache", 1 << 30)
    return store


@pytest.fixture
def artifact(store, tmp_path):
    with store.begin("g-1") as writer:
        (tmp_path / "file").write_bytes(os.urandom(5000))
        writer.add_file("rootfs.tar", tmp_path / "file")
        source = Source(node="n", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={})
        fields = Fields(
            identity_hash=read_checkpoint(checkpoint()).hash,
            identity=IDENTITY,
            created_at=NOW,
            owner=Owner(namespace="ns", name="cp", uid="u"),
            source=source,
            compatibility={},
            deleted=[],
        )
        return {"generation": "g-1", "digest": writer.commit(fields)[1]}


def stager(cluster, store, node="node-a"):
    return Stager(cluster, store, Instruments(Operations(), Metrics(node)), node)


def test_when_a_node_is_asked(store):
    asked = stager(None, store)
    for stage, answer in (("node-a", True), ("node-b, node-a", True), ("*", True), ("node-b", False), ("", False)):
        assert asked.is_asked(checkpoint(stage)) is answer
    assert not asked.is_asked(checkpoint("*") | {"status": {"phase": "Creating"}})
    leaving = checkpoint("*")
    leaving["metadata"]["deletionTimestamp"] = "x"
    assert not asked.is_asked(leaving)


async def test_it_is_staged_once_and_told_among_the_others(store, artifact):
    body = checkpoint("node-a", artifact)
    body["status"]["caches"] = [{"node": "node-b", "bytes": 5}, {"node": "node-a", "bytes": 0, "message": "earlier"}]
    cluster = Cluster(body, conflicts=2)
    asked = stager(cluster, store)
    assert asked.is_asked(body)
    await asked.handle(body)
    (other, own) = cluster.statuses[0]["caches"]
    assert other == {"node": "node-b", "bytes": 5}
    assert (own["node"], own["bytes"], own["total"], own["generation"]) == ("node-a", 8192, 8192, "g-1")
    assert "message" not in own
    assert store.cache.size > 5000
    assert not asked.is_asked(cluster.body)
    assert asked.is_asked(checkpoint("node-a", artifact | {"generation": "g-2"}))
    assert not asked.is_asked(checkpoint("", artifact))
    assert asked.is_asked(body), "a wish that was taken back and made again counts"


async def test_what_was_staged_stays_as_long_as_that_is_asked_for(store, artifact, tmp_path):
    now = iter(range(10**9, 2 * 10**9, 1000))
    store.cache = PieceCache(tmp_path / "small", 20_000, lambda: next(now))
    asked, body = stager(Cluster(checkpoint("*", artifact)), store), checkpoint("*", artifact)
    assert asked.is_asked(body)
    await asked.handle(body)
    (pack,) = {path.stem for path in (tmp_path / "store").glob("packs/*.pack")}

    def others_come():
        for number in range(30):
            store.cache.put("packs/other.pack", number, 1000, bytes(1000))
        return (tmp_path / "small" / pack).exists()

    assert others_come()
    assert not asked.is_asked(checkpoint("", artifact))
    assert not others_come()


@pytest.mark.parametrize(
    ("cached", "digest", "message"),
    [
        (False, "", "the node has no cache"),
        (True, "0" * 64, "its manifest is not the one that was committed"),
    ],
)
async def test_why_it_was_not_staged_is_told(store, artifact, cached, digest, message):
    store.cache = store.cache if cached else None
    body = checkpoint("node-a", artifact | ({"digest": digest} if digest else {}))
    cluster = Cluster(body)
    await stager(cluster, store).handle(body)
    assert message in cluster.statuses[0]["caches"][0]["message"]


async def test_of_all_nodes_those_without_a_cache_say_nothing(store, artifact):
    store.cache = None
    body = checkpoint("*", artifact)
    cluster = Cluster(body)
    await stager(cluster, store).handle(body)
    assert cluster.statuses == []


async def test_a_checkpoint_that_goes_meanwhile_is_not_written_to(store, artifact):
    body = checkpoint("*", artifact)
    for there in (None, checkpoint("*", artifact) | {"metadata": body["metadata"] | {"uid": "another"}}):
        cluster = Cluster(there)
        await stager(cluster, store).handle(body)
        assert cluster.statuses == []


def test_wishes_of_several_commands_add_up():
    assert joined("", ["b", "a"]) == "a,b"
    assert joined("a, c", ["b"]) == "a,b,c"
    assert joined("a", ["*"]) == "*"


def wished(nodes=("a", "b"), **verification):
    body = checkpoint(**{names.ANNOTATION_VERIFY: "7", names.ANNOTATION_REPAIR: Wish("7", nodes).dump()})
    if verification:
        body["status"]["verification"] = {"nonce": "7"} | verification
    return body


def test_whose_turn_it_is_to_mend():
    assert [is_asked(wished(), NOW, node) for node in "abc"] == [True, False, False]
    assert [is_asked(wished(result="damaged", node="a"), NOW, node) for node in "abc"] == [False, True, False]
    assert not any(is_asked(wished(result="damaged", node="b"), NOW, node) for node in "abc")
    assert [is_asked(wished(()), NOW, node) for node in "ab"] == [True, True]
    silent = wished(result="running", node="a", at="2026-01-29T10:00:00Z")
    assert [is_asked(silent, NOW, node) for node in "abc"] == [True, True, False]
    other = wished()
    other["metadata"]["annotations"][names.ANNOTATION_VERIFY] = "8"
    assert is_asked(other, NOW, "c"), "a wish is for one verification"


@pytest.mark.parametrize(
    ("node", "outcome", "result"),
    [
        ("a", Mended(3, 4096, 1), "ok"),
        ("a", ArtifactError("bad"), "damaged"),
        ("b", ArtifactError("bad"), "corrupt"),
        ("b", UsageError("no such store"), "failed"),
    ],
)
async def test_a_repair_is_answered_or_handed_on(node, outcome, result):
    body = wished() if node == "a" else wished(result="damaged", node="a")
    cluster = Cluster(deepcopy(body))
    asked = []

    def mender(key, sources, progress):
        asked.append((key[1], tuple(sources)))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    class Unsigned:
        def signer(self, identity_hash, generation):
            raise SignatureError("nobody has signed it")

    verifier = Verifier(cluster, Unsigned(), Reporter(cluster, node), Metrics(node), node, mender=mender)
    assert verifier.is_asked(body)
    await verifier.handle("u", "cp", "ns")
    answer = cluster.body["status"]["verification"]
    assert asked == [("g-1", ())]
    assert (answer["result"], answer["repairedChunks"]) == (result, 3 if result == "ok" else 0)
    assert (cluster.body["status"]["artifact"] is None) is (result == "corrupt")
