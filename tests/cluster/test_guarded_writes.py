"""What the agent and the plugin write: only to what they have read, never to another object that has its name by now."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.node.writer import publish
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store
from chrek_agent.tasks.adoption import Adopter
from chrek_agent.tasks.deletion import delete_artifact
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.verification import Verifier
from chrek_agent.telemetry.metrics import Metrics
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, PODS
from kubectl_chrek.ops import gc, pinning, verifying
from kubectl_chrek.ops.retention import Candidate

pytestmark = pytest.mark.cluster

NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
NAME = "one"


class Recording:
    """A cluster that notes patches, each with how it was sent."""

    def __init__(self, cluster):
        self._cluster, self.patches = cluster, []

    def __getattr__(self, name):
        return getattr(self._cluster, name)

    async def patch(self, resource, name, patch, namespace=None, *, type="merge", subresource="", **options):  # noqa: A002 - the client's
        self.patches.append((resource.plural, patch, subresource, type))
        return await self._cluster.patch(resource, name, patch, namespace, type=type, subresource=subresource, **options)


@pytest.fixture
def recording(cluster):
    return Recording(cluster)


@pytest.fixture
async def world(recording, cluster, namespace, checkpoint_body, tmp_path):
    """A checkpoint that has adopted an artifact, and a pod."""
    store = Store.at(tmp_path / "store")
    identity_hash = read_checkpoint(checkpoint_body).hash
    with store.begin("g-1") as writer:
        (tmp_path / "file").write_bytes(b"content")
        writer.add_file("rootfs.tar", tmp_path / "file")
        source = Source(node="n", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={})
        rest = {"source": source, "compatibility": {}, "deleted": [], "created_at": NOW, "identity": {}}
        owner = Owner(namespace=namespace, name="", uid="")
        _, digest = writer.commit(Fields(identity_hash=identity_hash, owner=owner, **rest))
    wanted = json.dumps({"generation": "g-1", "digest": digest})
    metadata = {"name": NAME, "annotations": {names.ANNOTATION_ADOPT: wanted}, "finalizers": [names.FINALIZER]}
    spec = {"schedulerName": "nobody", "containers": [{"name": "main", "image": "registry.invalid/worker:1"}]}
    pod = await cluster.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
    body = await cluster.create(CHECKPOINTS, checkpoint_body | {"metadata": metadata})
    yield World(recording, store, body, pod)
    for left in await cluster.list(CHECKPOINTS):
        await cluster.patch(CHECKPOINTS, left["metadata"]["name"], {"metadata": {"finalizers": None}})


class World:
    def __init__(self, cluster, store, body, pod):
        self.cluster, self.store, self.pod = cluster, store, pod
        self.reporter = Reporter(cluster, "n")
        self.body = body

    @property
    def checkpoint(self):
        return read_checkpoint(self.body)

    async def look(self):
        """The checkpoint as it stands."""
        self.body = await self.cluster.get(CHECKPOINTS, NAME)
        return self.body

    async def everything(self):
        """All that agents and people write about a checkpoint that they have read, one after the other, whatever becomes of it."""
        metadata, store, cluster = self.checkpoint.metadata, self.store, self.cluster
        candidate = Candidate(self.checkpoint, "", 0)
        for work in (
            lambda: self.reporter.progress(metadata, {"step": "dump"}),
            lambda: self.reporter.failure(metadata, "no room"),
            lambda: self.reporter.verification(metadata, {"nonce": "0", "result": "ok"}),
            lambda: verifying.request(cluster, self.checkpoint, "1"),
            lambda: gc.mark_candidate(cluster, candidate, NOW + timedelta(hours=1)),
            lambda: delete_artifact(cluster, store, self.body),
        ):
            try:
                await work()
            except ChrekError as error:
                assert str(error)  # noqa: PT017 - to be refused is one of two good ends


async def adopted(world):
    await Adopter(world.cluster, world.store, world.reporter).handle(world.body)
    body = await world.look()
    assert body["status"]["artifact"]["digest"]
    assert names.ANNOTATION_ADOPT not in body["metadata"].get("annotations", {})


async def test_every_patch_names_what_it_was_made_for(world, recording, cluster, namespace, is_guarded):
    await adopted(world)
    await cluster.patch(CHECKPOINTS, NAME, {"status": {"phase": "Ready"}}, subresource="status")
    await verifying.request(recording, read_checkpoint(await world.look()), "1")
    verifier, asked = Verifier(recording, world.store, world.reporter, Metrics("n"), "n"), await world.look()
    assert verifier.is_asked(asked)
    await verifier.handle(asked["metadata"]["uid"], NAME, namespace)
    assert (await world.look())["status"]["verification"]["result"] == "ok"
    await world.reporter.outcome(namespace, NAME, world.pod, {"result": "restored", "reason": "", "seconds": 1.0})
    await world.reporter.death(namespace, NAME, world.pod, "ended", 1.0)
    await pinning.pin(recording, NAME, by="me", note="", now=NOW)
    await pinning.unpin(recording, NAME)
    await gc.mark_candidate(recording, Candidate(world.checkpoint, "", 0), NOW)
    assert await gc.undelete(recording, NAME)
    await publish(recording, namespace, {"agent": {"version": "1"}})
    await publish(recording, namespace, {"agent": {"version": "2"}})
    assert (await cluster.get(CHREK_NODES, namespace, ""))["status"]["agent"]["version"] == "2"
    await cluster.delete(CHREK_NODES, namespace, "")
    await world.look()
    await cluster.delete(CHECKPOINTS, NAME)
    await world.everything()
    await world.reporter.lost(namespace, NAME, "g-1", "corrupt")
    assert len(recording.patches) > 15
    assert {plural for plural, *_ in recording.patches} == {"dynamocheckpoints", "chreknodes", "pods"}
    unguarded = [sent for sent in recording.patches if not is_guarded(sent[1], subresource=sent[2], kind=sent[3])]
    assert unguarded == []


async def test_nothing_is_written_to_another_object_of_the_name(world, cluster, checkpoint_body):
    await adopted(world)
    await cluster.patch(CHECKPOINTS, NAME, {"metadata": {"finalizers": None}})
    await cluster.delete(CHECKPOINTS, NAME)
    metadata = {"name": NAME, "finalizers": [names.FINALIZER]}
    fresh = await cluster.create(CHECKPOINTS, checkpoint_body | {"metadata": metadata})
    await world.everything()
    after = await cluster.get(CHECKPOINTS, NAME)
    assert after["metadata"]["resourceVersion"] == fresh["metadata"]["resourceVersion"]
    assert "status" not in after
