"""Objects as an API server would hold them, and a small world that plays planners' actions back onto them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chrek_operator.actions import Create, Delete, Patch, Plan, Tell
from chrek_operator.checkpoints import Seen, plan_checkpoint
from chrek_operator.settings import Settings
from kubectl_chrek.cluster.resources import CHECKPOINTS, JOBS

Body = dict[str, Any]

IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
HASH = "5941a4cb3c363457"


def merge(target: Body, patch: Body) -> Body:
    """RFC 7386, as the API server applies it."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


class World:
    """One checkpoint, its Job and pods, and the Events about it."""

    def __init__(self, name: str = HASH, identity: Body | None = None, **job: Any) -> None:
        container = {"name": "main", "image": "worker:1", "command": ["python3", "-m", "dynamo.vllm"], "args": ["--model", "x"]}
        spec = {"podTemplateSpec": {"spec": {"containers": [container]}}, "backoffLimit": 3, "activeDeadlineSeconds": 600, **job}
        self.settings = Settings()
        self.now = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
        self.checkpoint: Body = {
            "apiVersion": CHECKPOINTS.api_version,
            "kind": CHECKPOINTS.kind,
            "metadata": {"name": name, "namespace": "ns", "uid": "cr-uid", "resourceVersion": "1", "generation": 1},
            "spec": {"identity": identity or dict(IDENTITY), "job": spec},
        }
        self.job: Body | None = None
        self.pods: list[Body] = []
        self.lease: Body | None = None
        self.same: tuple[Body, ...] | None = None
        self.needed_by: str | None = None
        self.events: list[Tell] = []

    @property
    def status(self) -> Body:
        return self.checkpoint.get("status") or {}

    def condition(self, kind: str) -> tuple[str, str]:
        return next((c["status"], c["reason"]) for c in self.status["conditions"] if c["type"] == kind)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def plan(self) -> Plan:
        seen = Seen(self.checkpoint, self.now, self.job, tuple(self.pods), self.lease, self.same, self.needed_by)
        return plan_checkpoint(seen, self.settings)

    def step(self) -> Plan:
        """One reconcile: plans, and does what was planned."""
        plan = self.plan()
        for action in plan.actions:
            if isinstance(action, Patch):
                assert action.patch["metadata"].pop("resourceVersion") == self.checkpoint["metadata"]["resourceVersion"]
                self.checkpoint = merge(self.checkpoint, action.patch)
                self.checkpoint["metadata"]["resourceVersion"] += "1"
            elif isinstance(action, Create) and action.resource is JOBS:
                assert self.job is None
                self.job = action.body | {"metadata": action.body["metadata"] | {"uid": "job-uid"}}
            elif isinstance(action, Delete) and action.resource is JOBS:
                assert self.job is not None
                assert action.uid == self.job["metadata"]["uid"]
                self.job = None
            elif isinstance(action, Tell):
                self.events.append(action)
        return plan

    def settle(self) -> Plan:
        """Reconciles until nothing is due at once."""
        for _ in range(20):
            plan = self.step()
            if plan.recheck != 0:
                return plan
        raise AssertionError("the planner never comes to rest")

    def finish_job(self, kind: str, reason: str = "", **status: Any) -> None:
        assert self.job is not None
        condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        self.job["status"] = {"conditions": [condition], **status}

    def write_artifact(self) -> None:
        artifact = {"generation": "20260129-1", "bytes": 4096, "files": 3, "node": "node-a"}
        self.checkpoint = merge(self.checkpoint, {"status": {"artifact": artifact, "failure": None}})


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return World


@pytest.fixture
def creating(world: World) -> World:
    world.settle()
    assert world.status["phase"] == "Creating"
    return world


@pytest.fixture
def ready(creating: World) -> World:
    creating.write_artifact()
    creating.settle()
    assert creating.status["phase"] == "Ready"
    return creating


@pytest.fixture
def make_pod() -> Callable[..., Body]:
    def make(state: Body | None = None, *, ready: bool = False, conditions: list[Body] | None = None, name: str = "p-1") -> Body:
        container = {"name": "main", "ready": ready, "state": state or {}}
        found = [{"type": "Ready", "status": str(ready)}, *(conditions or [])]
        metadata = {"name": name, "creationTimestamp": "2026-01-29T10:05:00Z"}
        status = {"phase": "Pending", "conditions": found, "containerStatuses": [container] if state else []}
        return {"metadata": metadata, "spec": {"nodeName": "node-a"}, "status": status}

    return make
