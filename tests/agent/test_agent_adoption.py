"""Artifacts that were made elsewhere become a checkpoint's own: verified, by one agent, or not at all."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.container.inventory import FILE, Inventory, ProcessRecord, dump_inventory
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store
from chrek_agent.tasks.adoption import STEP, Adopter, is_asked, read_wanted
from chrek_agent.tasks.report import Reporter
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ConflictError

IDENTITY = {"model": "m", "backendFramework": "vllm"}
NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)


def checkpoint(annotation=None, **status):
    annotations = {} if annotation is None else {names.ANNOTATION_ADOPT: annotation}
    metadata = {"name": "cp", "namespace": "ns", "uid": "u-2", "resourceVersion": "5", "annotations": annotations}
    return {"metadata": metadata, "spec": {"identity": IDENTITY}, "status": status}


HASH = read_checkpoint(checkpoint()).hash


def wanted(generation, digest, **more):
    return json.dumps({"generation": generation, "digest": digest, **more})


class Cluster:
    """Keeps patches; the first one may meet another writer's."""

    def __init__(self, conflict=False):
        self.statuses, self.patches, self.conflict = [], [], conflict

    async def patch(self, resource, name, patch, namespace=None, *, type="merge", subresource=""):  # noqa: A002 - the client's
        if self.conflict:
            raise ConflictError("changed")
        (self.statuses if subresource else self.patches).append(patch)


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


@pytest.fixture
def commit(store, tmp_path):
    def make(generation="g-1", inventory=None):
        with store.begin(generation) as writer:
            (tmp_path / "file").write_bytes(b"content")
            writer.add_file("rootfs.tar", tmp_path / "file")
            if inventory:
                (tmp_path / "inspect").write_bytes(inventory)
                writer.add_file(FILE, tmp_path / "inspect")
            source = Source(node="far", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={})
            owner = Owner(namespace="theirs", name="other", uid="u-1")
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
    await Adopter(cluster, store, Reporter(cluster, "n")).handle(body)
    return cluster


@pytest.mark.parametrize("move", [False, True])
async def test_an_artifact_becomes_the_checkpoints_own(store, commit, move):
    manifest, digest = commit(inventory=held())
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
    assert store.find(HASH, "u-1") == ([] if move else [manifest])
    assert cluster.patches == [{"metadata": {"annotations": {names.ANNOTATION_ADOPT: None}}}]


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
        assert (cluster.statuses, cluster.patches) == ([], [])


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
    assert len(store.find(HASH, "u-1")) == 1
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
