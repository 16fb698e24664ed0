"""Artifacts that were made elsewhere become a checkpoint's own: verified, by one agent, or not at all."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chrek_agent.container.inventory import FILE, Inventory, ProcessRecord, dump_inventory
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.ownership import offer, restate
from chrek_agent.store.protection import Protection
from chrek_agent.store.signing import Signing
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.receiving import Received
from chrek_agent.tasks.adoption import STEP, Adopter, is_asked, read_wanted
from chrek_agent.tasks.report import Reporter
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ClusterError, ConflictError, NotFoundError

IDENTITY = {"model": "m", "backendFramework": "vllm"}
NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
OFFER = Owner(namespace="ns", name="", uid="")
"""Of what was imported for our namespace."""
THEIRS = Owner(namespace="theirs", name="other", uid="u-1")
OURS = Owner(namespace="ns", name="other", uid="u-1")


def checkpoint(annotation=None, **status):
    annotations = {} if annotation is None else {names.ANNOTATION_ADOPT: annotation}
    metadata = {"name": "cp", "namespace": "ns", "uid": "u-2", "resourceVersion": "5", "annotations": annotations}
    return {"metadata": metadata, "spec": {"identity": IDENTITY}, "status": status}


HASH = read_checkpoint(checkpoint()).hash


def wanted(generation, digest, **more):
    return json.dumps({"generation": generation, "digest": digest, **more})


class Cluster:
    """Keeps patches; the first one may meet another writer's. There are the adopting checkpoint and what a test adds."""

    def __init__(self, conflict=False, **others):
        self.statuses, self.patches, self.conflict = [], [], conflict
        self.adopted = []
        self.bodies = {("ns", "cp"): checkpoint(), **{("theirs", name): body for name, body in others.items()}}

    async def get(self, resource, name, namespace=None):
        found = self.bodies.get((namespace, name))
        if found is None:
            raise NotFoundError("gone")
        if isinstance(found, Exception):
            raise found
        return found

    async def patch(self, resource, name, patch, namespace=None, *, type="merge", subresource=""):  # noqa: A002 - the client's
        if self.conflict:
            raise ConflictError("changed")
        (self.statuses if subresource else self.patches).append(patch)


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


@pytest.fixture
def commit(store, tmp_path):
    def make(generation="g-1", inventory=None, owner=OFFER):
        with store.begin(generation) as writer:
            (tmp_path / "file").write_bytes(b"content")
            writer.add_file("rootfs.tar", tmp_path / "file")
            if inventory:
                (tmp_path / "inspect").write_bytes(inventory)
                writer.add_file(FILE, tmp_path / "inspect")
            source = Source(node="far", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={})
            record = {"kernel": "6.1"}
            fields = Fields(
                identity_hash=HASH, identity=IDENTITY, created_at=NOW, owner=owner, source=source, compatibility=record, deleted=[]
            )
            return writer.commit(fields)  # fmt: skip

    return make


def held():
    process = ProcessRecord(
        pid=1001, parent=1, name="w", threads=3, command=["w"], resident={"anonymous": 5, "file": 7}, mapped={}, mappings=0,
        files=[], variables=["A"], values={},
    )  # fmt: skip
    return dump_inventory(Inventory(processes=[process]))


async def adopt(store, body, cluster=None):
    cluster = cluster or Cluster()
    await Adopter(cluster, store, Reporter(cluster, "n"), lambda: cluster.adopted.append(len(store.usage().artifacts))).handle(body)
    return cluster


@pytest.mark.parametrize(("owner", "move", "gone"), [(OFFER, False, False), (OFFER, True, True), (OURS, True, False)])
async def test_an_artifact_becomes_the_checkpoints_own(store, commit, owner, move, gone):
    manifest, digest = commit(inventory=held(), owner=owner)
    cluster = await adopt(store, checkpoint(wanted("g-1", digest, move=move)))
    assert cluster.statuses[0]["metadata"] == {"resourceVersion": "5"}
    assert cluster.statuses[0]["status"]["progress"]["step"] == STEP
    artifact = cluster.statuses[-1]["status"]["artifact"]
    assert (artifact["capturedAt"], artifact["node"], artifact["compatibility"]) == ("2026-01-29T10:05:00Z", "n", {"kernel": "6.1"})
    assert artifact["processes"] == [{"pid": 1001, "name": "w", "threads": 3, "bytes": 5}]
    assert artifact["inventory"]["variables"] == ["A"]
    [owned] = store.find(HASH, "u-2")
    assert owned == store.verify(HASH, artifact["generation"], artifact["digest"])
    assert (owned.owner.name, owned.owner.namespace, owned.files) == ("cp", "ns", manifest.files)
    # Only what was imported for this is moved: a checkpoint keeps its artifact, whatever another one asks for.
    assert store.find(HASH, owner.uid) == ([] if gone else [manifest])
    assert cluster.adopted == [1 if gone else 2], "called once the store is as it will stay"
    assert cluster.patches == [{"metadata": {"uid": "u-2", "annotations": {names.ANNOTATION_ADOPT: None}}}]


async def test_what_has_to_be_signed_is_adopted_with_a_signature_or_with_a_reason(store, commit):
    _, digest = commit()
    strict = Store(
        store.backend, store.scratch, protection=Protection(signing=Signing(Ed25519PrivateKey.generate(), required=True))
    )
    refused = await adopt(strict, checkpoint(wanted("g-1", digest)))
    assert [status["status"]["failure"] for status in refused.statuses] == ["artifact g-1 is not signed"]
    strict.sign(HASH, "g-1", digest)
    cluster = await adopt(strict, checkpoint(wanted("g-1", digest)))
    artifact = cluster.statuses[-1]["status"]["artifact"]
    strict.open(HASH, artifact["generation"], artifact["digest"]).close()


def shared(value, uid="u-1"):
    return {"metadata": {"name": "other", "namespace": "theirs", "uid": uid, "annotations": {names.ANNOTATION_SHARE: value}}}


@pytest.mark.parametrize("value", ["ns", "team, ns", "*"])
async def test_another_namespace_may_share_its_artifact(store, commit, value):
    manifest, digest = commit(owner=THEIRS)
    cluster = await adopt(store, checkpoint(wanted("g-1", digest, move=True)), Cluster(other=shared(value)))
    assert cluster.statuses[-1]["status"]["artifact"]
    assert store.find(HASH, "u-1") == [manifest]


@pytest.mark.parametrize(
    ("owner", "others", "why"),
    [
        (THEIRS, {}, "belongs to another namespace"),
        (THEIRS, {"other": shared("nobody, ns-2")}, "belongs to another namespace"),
        (
            THEIRS,
            {"other": shared("ns", uid="a later one")},
            "unless its checkpoint has annotation nvidia.com/chrek-share-with: ns",
        ),
        (THEIRS, {"other": ClusterError("forbidden", status=403)}, "cannot be looked up: forbidden"),
        (Owner(namespace="theirs", name="", uid=""), {"": shared("ns", uid="")}, "belongs to another namespace"),
    ],
)
async def test_the_artifact_of_a_namespace_that_does_not_share_it_is_refused(store, commit, owner, others, why):
    manifest, digest = commit(owner=owner)
    cluster = await adopt(store, checkpoint(wanted("g-1", digest, move=True)), Cluster(**others))
    assert why in cluster.statuses[-1]["status"]["failure"]
    assert store.find(HASH, "u-2") == []
    assert store.find(HASH, owner.uid) == [manifest]


def test_an_offer_is_the_same_however_often_it_is_made(store, commit):
    manifest, digest = commit(owner=THEIRS)
    received = Received(manifest, digest, fresh=False, chunks=0, bytes=0)
    first, again = (offer(store, received, "ns") for _ in range(2))
    assert first == again
    assert (first.manifest.owner, first.fresh) == (OFFER, True)
    assert store.verify(HASH, first.manifest.generation, first.digest).files == manifest.files
    assert offer(store, received, "team").manifest.generation != first.manifest.generation
    assert store.find(HASH, "u-1") == [manifest]
    offer(store, Received(manifest, digest, fresh=True, chunks=0, bytes=0), "ns")
    assert store.find(HASH, "u-1") == []
    store.backend.put(f"{HASH}/g-2/manifest.json", b"another")
    with pytest.raises(FileExistsError):
        restate(store, manifest, "g-2", OFFER)


async def test_an_agent_that_died_over_it_leaves_one_artifact_all_the_same(store, commit):
    _, digest = commit()
    body = checkpoint(wanted("g-1", digest))
    first = (await adopt(store, body)).statuses[-1]["status"]["artifact"]
    second = (await adopt(store, body)).statuses[-1]["status"]["artifact"]
    assert (first["generation"], first["digest"]) == (second["generation"], second["digest"])


async def test_a_store_without_it_leaves_it_to_another_agent(store, commit):
    _, digest = commit()
    for body in (checkpoint(wanted("g-2", digest)), checkpoint(wanted("g-1", "0" * 64)), checkpoint(wanted("../g", digest))):
        cluster = await adopt(store, body)
        assert (cluster.statuses, cluster.patches, cluster.adopted) == ([], [], [])


async def test_of_several_agents_one_adopts(store, commit):
    _, digest = commit()
    await adopt(store, checkpoint(wanted("g-1", digest)), Cluster(conflict=True))
    assert store.find(HASH, "u-2") == []


async def test_a_damaged_artifact_is_refused_and_said(store, commit, tmp_path):
    _, digest = commit()
    pack = next((tmp_path / "store" / "packs").glob("*.pack"))
    pack.write_bytes(bytes(pack.stat().st_size))
    cluster = await adopt(store, checkpoint(wanted("g-1", digest, move=True)))
    assert "has changed" in cluster.statuses[-1]["status"]["failure"]
    assert store.find(HASH, "u-2") == []
    assert len(store.find(HASH, OFFER.uid)) == 1
    assert cluster.patches == []


async def test_an_artifact_without_an_inventory_or_with_a_strange_one_is_adopted(store, commit):
    _, digest = commit("g-1")
    assert (await adopt(store, checkpoint(wanted("g-1", digest)))).statuses[-1]["status"]["artifact"]["processes"] == []
    _, digest = commit("g-2", b"strange")
    assert (await adopt(store, checkpoint(wanted("g-2", digest)))).statuses[-1]["status"]["artifact"]["processes"] == []


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"generation": "g"}', "1"])
def test_what_is_not_understood_is_not_asked(text):
    assert read_wanted(checkpoint(text)) is None
    assert not is_asked(checkpoint(text), NOW)


def test_who_asks():
    text = wanted("g", "d")
    assert is_asked(checkpoint(text), NOW)
    assert not is_asked(checkpoint(), NOW)
    assert not is_asked(checkpoint(text, artifact={"generation": "g"}), NOW)
    assert not is_asked(checkpoint(text, failure="corrupt"), NOW)
    assert not is_asked(checkpoint(text, createdAt="2026-01-29T10:05:00Z"), NOW)
    progress = {"step": STEP, "updatedAt": "2026-01-29T10:05:00Z"}
    assert not is_asked(checkpoint(text, progress=progress), NOW + timedelta(seconds=59))
    assert is_asked(checkpoint(text, progress=progress), NOW + timedelta(seconds=61))
    leaving = checkpoint(text)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-29T10:05:00Z"
    assert not is_asked(leaving, NOW)
