"""What the agent decides about a pod that waits, and what it reports: with an API server that is a dictionary."""

import asyncio
import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.capture import Captured
from chrek_agent.config import AgentConfig
from chrek_agent.errors import AgentError, ArtifactError, KeyMissingError, RestoreError, SignatureError
from chrek_agent.restore import Restored, marker_file
from chrek_agent.store.model import Fields, Manifest, Owner, Sizes, Source
from chrek_agent.store.store import Store
from chrek_agent.tasks import lease
from chrek_agent.tasks import targets as module
from chrek_agent.tasks.deletion import delete_artifact, is_due
from chrek_agent.tasks.lease import expired, hold
from chrek_agent.tasks.report import Reporter, artifact_status, outcome_status
from chrek_agent.tasks.sources import is_ready
from chrek_agent.tasks.targets import Targets
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from kubectl_chrek.api.compatibility import Compatibility
from kubectl_chrek.api.errors import ClusterError, ConflictError, NotFoundError

IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
HASH = "5941a4cb3c363457"
NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
ARTIFACT = {"generation": "g-1", "digest": "d"}
CHECKPOINT = {
    "metadata": {"name": "cp", "namespace": "ns", "uid": "uid-1", "resourceVersion": "5"},
    "spec": {"identity": IDENTITY},
    "status": {"phase": "Ready", "artifact": ARTIFACT},
}
POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "pod-uid", "labels": {"nvidia.com/checkpoint-name": "cp"}},
    "spec": {"containers": [{"name": "main", "env": [{"name": "DYN_RESTORE_MARKER_FILE", "value": "/tmp/marker"}]}]},
}


class FakeCluster:
    """Keeps objects by plural and name; notes what is patched and created."""

    def __init__(self):
        self.objects, self.patches, self.created, self.refusals = {}, [], [], []

    async def get(self, resource, name, namespace=None):
        try:
            return deepcopy(self.objects[resource.plural, name])
        except KeyError:
            raise NotFoundError(f"{name} not found") from None

    async def patch(self, resource, name, patch, namespace=None, *, type="merge", subresource=""):  # noqa: A002 - the client's own word
        if self.refusals and resource.plural == "dynamocheckpoints":
            raise self.refusals.pop(0)
        self.patches.append((resource.plural, name, patch, type, subresource))
        return {}

    async def create(self, resource, body, namespace=None):
        if (resource.plural, body["metadata"].get("name")) in self.objects:
            raise ConflictError("exists")
        self.created.append(body)
        if "name" in body["metadata"]:
            self.objects[resource.plural, body["metadata"]["name"]] = deepcopy(body)
        return body

    async def replace(self, resource, body, namespace=None):
        self.objects[resource.plural, body["metadata"]["name"]] = body
        return body

    async def delete(self, resource, name, namespace=None, *, uid=""):
        self.objects.pop((resource.plural, name), None)

    def statuses(self):
        return [patch["status"] for plural, _, patch, _, subresource in self.patches if subresource == "status"]


class FakeRestore:
    def __init__(self):
        self.calls, self.error = [], None

    async def record(self, *arguments):
        return Compatibility()

    async def run(self, *arguments, namespace, check):
        self.calls.append(arguments)
        if self.error is not None:
            raise self.error
        return Restored(1001, 1.5, {"criu": 1.0})


class FakeGate:
    error = None

    async def check(self, *arguments):
        if self.error is not None:
            raise self.error
        return []


class World:
    def __init__(self, container, directory, state, monkeypatch):
        self.cluster, self.restore, self.directory, self.container = FakeCluster(), FakeRestore(), directory, container
        self.cluster.objects["dynamocheckpoints", "cp"] = self.checkpoint = deepcopy(CHECKPOINT)
        self.gate, self.instruments = FakeGate(), Instruments(Operations(), Metrics("n"))
        config = AgentConfig(node="n", state=state, early_seconds=0.0)
        reporter = Reporter(self.cluster, "n")
        self.targets = Targets(config, self.cluster, self.restore, reporter, self.gate, self.instruments)
        monkeypatch.setattr(module, "find_container", lambda *_: container)
        (directory / "waiting").write_text(json.dumps({"start": container.init_start}))

    async def handle(self):
        (self.directory / "outcome").unlink(missing_ok=True)
        await self.targets.handle(POD)
        path = self.directory / "outcome"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def world(make_container, signal_directory, tmp_path, monkeypatch):
    return World(make_container(), signal_directory, tmp_path, monkeypatch)


async def test_a_restore_is_reported_to_pod_and_checkpoint(world):
    assert await world.handle() is None
    name, identity_hash, artifact, container, marker = world.restore.calls[0]
    assert (name, identity_hash, artifact.generation, container, marker) == ("cp", HASH, "g-1", world.container, "/tmp/marker")
    (status,) = world.cluster.statuses()
    assert (status["restores"], status["lastRestore"]["result"], status["lastRestore"]["pod"]) == (1, "restored", "p")
    annotation = next(patch for plural, _, patch, _, _ in world.cluster.patches if plural == "pods")["metadata"]["annotations"]
    startup = json.loads(annotation["nvidia.com/chrek-startup"])
    assert startup == {
        "checkpoint": "cp",
        "result": "restored",
        "reason": "",
        "seconds": 1.5,
        "phases": {"criu": 1.0},
        "phaseBytes": {},
    }
    assert world.cluster.created[0]["reason"] == "RestoreSucceeded"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, "checkpoint cp is Pending"),
        ({"phase": "Creating", "artifact": ARTIFACT}, "checkpoint cp is Creating"),
        ({"phase": "Failed", "message": "no luck"}, "checkpoint cp is Failed: no luck"),
        ({"phase": "Ready"}, "checkpoint cp is Ready"),
    ],
)
async def test_a_checkpoint_that_is_not_ready_means_cold(world, status, reason):
    world.checkpoint["status"] = status
    assert await world.handle() == {"result": "cold", "reason": reason}
    assert world.restore.calls == []
    assert world.cluster.created[0]["message"] == f"Falling back to cold start: {reason}"
    assert world.cluster.statuses()[0]["coldStarts"] == 1


async def test_no_checkpoint_means_cold(world):
    world.cluster.objects.clear()
    assert await world.handle() == {"result": "cold", "reason": "checkpoint cp does not exist"}


async def test_a_generation_that_failed_here_is_not_tried_twice(world):
    world.restore.error = RestoreError("CRIU restore failed")
    assert await world.handle() == {"result": "cold", "reason": "CRIU restore failed"}
    assert await world.handle() == {"result": "cold", "reason": "it failed on this node before: CRIU restore failed"}
    assert len(world.restore.calls) == 1
    world.checkpoint["status"]["artifact"] = {"generation": "g-2", "digest": "d"}
    await world.handle()
    assert len(world.restore.calls) == 2


async def test_a_corrupt_artifact_is_withdrawn(world):
    world.restore.error = ArtifactError("artifact g-1 is corrupt: rootfs.tar is missing")
    assert (await world.handle())["reason"] == "artifact g-1 is corrupt: rootfs.tar is missing"
    assert {"artifact": None, "failure": "artifact g-1 is corrupt: rootfs.tar is missing"} in world.cluster.statuses()


@pytest.mark.parametrize(("error", "cause"), [(KeyMissingError, "KeyMissing"), (SignatureError, "NotSigned")])
async def test_what_this_agent_has_no_key_for_stays_and_is_tried_again(world, error, cause):
    world.restore.error = error("why")
    assert await world.handle() == {"result": "cold", "reason": "why"}
    last, *_ = world.cluster.statuses()
    assert (last["coldStartsByCause"], "artifact" in last) == ({cause: 1}, False)
    world.restore.error = None
    assert await world.handle() is None


async def test_only_the_corrupt_generation_is_withdrawn(world):
    await Reporter(world.cluster, "n").lost("ns", "cp", "g-0", "corrupt")
    assert world.cluster.statuses() == []


async def test_a_node_that_refuses_means_cold(world):
    world.restore.error = OSError(5, "Input/output error")
    assert (await world.handle())["result"] == "cold"


async def test_a_pod_that_has_its_outcome_is_left_alone(world):
    (world.directory / "outcome").write_text('{"result": "cold", "reason": "deadline"}')
    await world.targets.handle(POD)
    assert world.cluster.patches == world.restore.calls == []


async def test_a_shim_of_an_earlier_container_is_not_taken_for_this_one(world, monkeypatch):
    monkeypatch.setattr(module, "SHIM_SECONDS", 0.05)
    (world.directory / "waiting").write_text('{"start": 1}')
    assert await world.handle() is None
    assert world.restore.calls == []


async def test_a_counter_that_changed_meanwhile_is_read_again(world):
    world.cluster.refusals = [ConflictError("changed"), ConflictError("changed")]
    await Reporter(world.cluster, "n").outcome("ns", "cp", POD, {"result": "cold", "reason": "x"})
    assert [status["coldStarts"] for status in world.cluster.statuses()] == [1]
    assert world.cluster.patches[-1][2]["metadata"] == {"resourceVersion": "5"}


async def test_a_report_that_fails_harms_nothing(world):
    world.cluster.refusals = [ClusterError("no answer")]
    await world.handle()
    assert [body["reason"] for body in world.cluster.created] == ["RestoreSucceeded"]


def fields(uid="uid-1"):
    return Fields(
        identity_hash=HASH,
        identity={},
        created_at=NOW,
        owner=Owner(namespace="ns", name="cp", uid=uid),
        source=Source(node="n", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={}),
        compatibility={},
        deleted=[],
        cold_start_seconds=12.5,
        phases={"dump": 1.0},
    )


def manifest():
    files = {"a": {"size": 3, "chunks": [None]}, "b": {"size": 4, "chunks": [None]}}
    rest = {"generation": "g-1", "files": files, "memory": [], "packs": [], "sizes": Sizes(logical=7, stored=2)}
    return Manifest.model_validate(fields().model_dump() | rest)


def test_the_shape_of_an_artifact():
    assert artifact_status(Captured(manifest(), "d" * 64, 2.5), "n", NOW) == {
        "artifact": {
            "generation": "g-1",
            "digest": "d" * 64,
            "bytes": 7,
            "storedBytes": 2,
            "uniqueBytes": 2,
            "files": 2,
            "node": "n",
            "capturedAt": "2026-01-29T10:05:00Z",
            "coldStartSeconds": 12.5,
            "captureSeconds": 2.5,
            "phases": {"dump": 1.0},
            "phaseBytes": {},
            "compatibility": {},
            "processes": [],
            "inventory": {
                "processCount": 0,
                "resident": {},
                "mapped": {},
                "openFiles": {},
                "processes": [],
                "sockets": [],
                "variables": [],
                "files": [],
                "omitted": {},
            },
        },
        "progress": None,
        "failure": None,
    }


def test_the_shape_of_an_outcome():
    outcome = {"result": "cold", "reason": "x", "cause": "Incompatible", "seconds": 1.0}
    status = {"coldStarts": 2, "restores": 7, "coldStartsByCause": {"Incompatible": 1, "TriedBefore": 1}}
    assert outcome_status(status, outcome, "p", "n", NOW) == {
        "coldStarts": 3,
        "coldStartsByCause": {"Incompatible": 2},
        "lastRestore": {"phases": None, "phaseBytes": None, "pod": "p", "node": "n", "at": "2026-01-29T10:05:00Z", **outcome},
    }


def test_when_a_lease_has_run_out():
    def spec(seconds, **more):
        time = f"{NOW - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"
        return {"holderIdentity": "a", "leaseDurationSeconds": 30, "renewTime": time} | more

    assert not expired(spec(29), NOW)
    assert expired(spec(31), NOW)
    assert not expired(spec(31, leaseDurationSeconds=60), NOW)
    assert expired(spec(0, holderIdentity=""), NOW)
    assert expired(spec(0, renewTime=None), NOW)


async def test_only_one_writer_holds_a_checkpoint(world):
    async with hold(world.cluster, "ns", HASH, "chrek-agent-a"):
        with pytest.raises(AgentError, match="chrek-agent-a is capturing this checkpoint already"):
            async with hold(world.cluster, "ns", HASH, "chrek-agent-b"):
                pass
    async with hold(world.cluster, "ns", HASH, "chrek-agent-b"):
        world.cluster.objects["leases", f"chrek-{HASH}"]["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z"
        async with hold(world.cluster, "ns", HASH, "chrek-agent-c"):
            assert world.cluster.objects["leases", f"chrek-{HASH}"]["spec"]["holderIdentity"] == "chrek-agent-c"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda leases: leases.update(holderIdentity="chrek-agent-b"), "chrek-agent-b has taken this checkpoint's lease over"),
        (None, "this checkpoint's lease has been deleted"),
    ],
)
async def test_a_capture_whose_lease_is_lost_ends(world, monkeypatch, change, reason):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)

    async def capture():
        async with hold(world.cluster, "ns", HASH, "chrek-agent-a"):
            if change is None:
                del world.cluster.objects["leases", f"chrek-{HASH}"]
            else:
                change(world.cluster.objects["leases", f"chrek-{HASH}"]["spec"])
            await asyncio.Event().wait()

    with pytest.raises(AgentError, match=reason):
        await capture()
    assert (("leases", f"chrek-{HASH}") in world.cluster.objects) is (change is not None)  # It is another's now.


async def test_a_lease_is_renewed_while_it_is_held(world, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    async with hold(world.cluster, "ns", HASH, "chrek-agent-a"):
        first = world.cluster.objects["leases", f"chrek-{HASH}"]["spec"]["renewTime"]
        while world.cluster.objects["leases", f"chrek-{HASH}"]["spec"]["renewTime"] == first:
            await asyncio.sleep(0.005)
    assert ("leases", f"chrek-{HASH}") not in world.cluster.objects


async def test_a_lease_that_cannot_be_renewed_in_time_is_lost(world, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(lease, "DURATION_SECONDS", 0.03)

    async def refuse(*_):
        raise ClusterError("away")

    async def capture():
        async with hold(world.cluster, "ns", HASH, "chrek-agent-a"):
            monkeypatch.setattr(world.cluster, "get", refuse)
            await asyncio.Event().wait()

    with pytest.raises(AgentError, match="could not be renewed in time"):
        await capture()


def test_when_a_source_is_ready():
    ready = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert is_ready(ready)
    assert not is_ready(ready | {"metadata": {"deletionTimestamp": "x"}})
    assert not is_ready({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    assert not is_ready({"metadata": {}, "status": {"conditions": [{"type": "Initialized", "status": "True"}]}})
    assert not is_ready({"metadata": {}})


def test_the_marker_is_the_workers_own():
    assert marker_file(POD, "main") == "/tmp/marker"
    assert marker_file(POD, "sidecar") == ""
    assert marker_file({"spec": {"containers": [{"name": "main"}]}}, "main") == ""


@pytest.fixture
def deleted(tmp_path):
    """A store with one artifact of ours and one of another checkpoint with the same identity."""
    store = Store.at(tmp_path / "store")
    for generation, uid in (("g-1", "uid-1"), ("g-2", "uid-2")):
        with store.begin(generation) as writer:
            writer.commit(fields(uid))
    body = deepcopy(CHECKPOINT)
    body["metadata"] |= {"deletionTimestamp": "2026-01-29T10:05:00Z", "finalizers": ["other/first", "nvidia.com/chrek-artifact"]}
    return store, body


def left(store):
    return sorted(entry.key.split("/")[1] for entry in store.backend.list(f"{HASH}/"))


async def test_a_retained_artifact_outlives_its_checkpoint(deleted):
    store, body = deleted
    body["spec"] = body["spec"] | {"deletionPolicy": "Retain"}
    cluster = FakeCluster()
    await delete_artifact(cluster, store, body)
    assert left(store) == ["g-1", "g-2"]
    assert len(cluster.patches) == 1


async def test_a_deleted_checkpoint_takes_its_artifacts_along(deleted):
    store, body = deleted
    cluster = FakeCluster()
    await delete_artifact(cluster, store, body)
    assert left(store) == ["g-2"]
    path = "/metadata/finalizers/1"
    same = {"/metadata/uid": body["metadata"]["uid"], path: "nvidia.com/chrek-artifact"}
    patch = [*({"op": "test", "path": where, "value": value} for where, value in same.items()), {"op": "remove", "path": path}]
    assert cluster.patches == [("dynamocheckpoints", "cp", patch, "json", "")]


async def test_a_status_cannot_delete_what_is_another_checkpoints(deleted):
    store, body = deleted
    body["status"]["artifact"] = {"generation": "g-2", "digest": "d"}
    await delete_artifact(FakeCluster(), store, body)
    assert left(store) == ["g-2"]


async def test_a_damaged_artifact_is_deleted_with_its_checkpoint(deleted):
    store, body = deleted
    (store.backend.base / HASH / "g-1" / "manifest.json").write_text("{")
    await delete_artifact(FakeCluster(), store, body)
    assert left(store) == ["g-2"]


@pytest.mark.parametrize("refusal", [None, NotFoundError("gone"), ConflictError("changed")])
async def test_a_checkpoint_that_no_agent_can_have_captured_is_released(deleted, refusal):
    store, body = deleted
    body["spec"] = {"identity": {"model": ""}}
    cluster = FakeCluster()
    cluster.refusals = [refusal] if refusal else []
    await delete_artifact(cluster, store, body)
    assert len(cluster.patches) == (0 if refusal else 1)


async def test_a_store_that_refuses_keeps_the_checkpoint(deleted, monkeypatch):
    store, body = deleted
    monkeypatch.setattr(store, "delete", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    cluster = FakeCluster()
    await delete_artifact(cluster, store, body)
    assert cluster.patches == []


def test_only_what_waits_for_us_is_due(deleted):
    _, body = deleted
    assert is_due(body)
    assert not is_due(CHECKPOINT)
    body["metadata"]["finalizers"] = ["other/first"]
    assert not is_due(body)
