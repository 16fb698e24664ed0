"""The command line in this process, on a cluster that is a dictionary, at a time that stands still."""

import asyncio
import copy
import itertools
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from kubectl_chrek import __version__
from kubectl_chrek.api.errors import ConflictError, NotFoundError
from kubectl_chrek.cli import diagnostics
from kubectl_chrek.cli.main import app
from kubectl_chrek.cluster import Event
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, EVENTS, GRAPHS, NODES, PODS

AGENT = {"app.kubernetes.io/name": "chrek-agent"}
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@dataclass
class Result:
    code: int
    out: str
    err: str


def selected(body, labels, fields):
    """Equality only, as far as commands ask for it."""
    own = body["metadata"].get("labels") or {}
    about = body.get("involvedObject") or {}
    wanted = dict(part.split("=", 1) for part in labels.split(",") if part)
    named = dict(part.removeprefix("involvedObject.").split("=", 1) for part in fields.split(",") if part)
    return wanted.items() <= own.items() and named.items() <= about.items()


class FakeCluster:
    """As much of Cluster as commands use. `failing` makes requests about a plural fail; `on_watch` edits between events."""

    def __init__(self):
        self.namespace = "default"
        self.objects = {}
        self.failing = {}
        self.calls = []
        self.changes = []
        self.request_seconds = 30.0
        self.server = "https://fake"
        self.logs = {}
        self.denied = set()
        self._uids = itertools.count(1)

    def put(self, resource, name, *, namespace="default", **body):
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-{next(self._uids)}"} | body.pop("metadata", {})
        metadata.setdefault("creationTimestamp", "2026-01-31T11:00:00Z")
        stored = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata} | body
        self.objects[resource.plural, namespace, name] = stored
        return stored

    def checkpoint(self, name, *, model="m", phase="", framework="vllm", namespace="default", metadata=None, **status):
        spec = {"identity": {"model": model, "backendFramework": framework}, "job": {"podTemplateSpec": {"spec": {}}}}
        status = ({"phase": phase} if phase else {}) | status
        return self.put(CHECKPOINTS, name, namespace=namespace, metadata=metadata or {}, spec=spec, status=status)

    def _check(self, verb, resource, name=""):
        self.calls.append((verb, resource.plural, name))
        if resource.plural in self.failing:
            raise self.failing[resource.plural]

    async def get(self, resource, name, namespace=None):
        self._check("get", resource, name)
        key = (resource.plural, self.namespace if namespace is None else namespace, name)
        if key not in self.objects:
            plural = f"{resource.plural}.{resource.group}".rstrip(".")
            raise NotFoundError(f'Error from server (NotFound): {plural} "{name}" not found')
        return copy.deepcopy(self.objects[key])

    async def list(self, resource, namespace=None, *, labels="", fields=""):
        self._check("list", resource)
        self.selectors = (labels, fields)
        wanted = self.namespace if namespace is None else namespace
        found = [body for (plural, place, _), body in self.objects.items() if plural == resource.plural and wanted in ("", place)]
        if resource in (PODS, EVENTS):
            found = [body for body in found if selected(body, labels, fields)]
        return copy.deepcopy(found)

    async def pages(self, resource, namespace=None, *, labels="", fields="", size=500, read=json.loads):
        self.page_size = size
        found = read(json.dumps({"items": await self.list(resource, namespace, labels=labels, fields=fields)}).encode())["items"]
        for start in range(0, len(found) or 1, size or 10**9):
            yield found[start : start + size] if size else found

    async def patch(self, resource, name, patch, namespace=None, *, subresource="", dry_run=False, **_):
        self._check("patch (dry run)" if dry_run else "patch", resource, name)
        key = (resource.plural, self.namespace if namespace is None else namespace, name)
        if key not in self.objects:
            raise NotFoundError(f'Error from server (NotFound): "{name}" not found')
        metadata = dict(patch.get("metadata", {}))
        if metadata.pop("uid", self.objects[key]["metadata"]["uid"]) != self.objects[key]["metadata"]["uid"]:
            raise ConflictError("Error from server (Conflict): the UID in the precondition does not match")
        patched = copy.deepcopy(self.objects[key])
        annotations = patched["metadata"].setdefault("annotations", {}) | metadata.get("annotations", {})
        patched["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
        if not dry_run:
            self.objects[key] = patched
        return copy.deepcopy(patched)

    async def create(self, resource, body, namespace=None, *, dry_run=False):
        if "metadata" not in body:
            self._check("review", resource)
            attributes = body["spec"]["resourceAttributes"]
            return body | {"status": {"allowed": (attributes["resource"], attributes["verb"]) not in self.denied}}
        name, namespace = body["metadata"]["name"], self.namespace if namespace is None else namespace
        self._check("create (dry run)" if dry_run else "create", resource, name)
        if (resource.plural, namespace, name) in self.objects:
            raise ConflictError(f'Error from server (AlreadyExists): {resource.plural} "{name}" already exists')
        rest = {key: value for key, value in copy.deepcopy(body).items() if key not in ("metadata", "apiVersion", "kind")}
        stored = self.put(resource, name, namespace=namespace, metadata=dict(body["metadata"]), **rest)
        if dry_run:
            del self.objects[resource.plural, namespace, name]
        return copy.deepcopy(stored)

    async def delete(self, resource, name, namespace=None, *, uid="", dry_run=False):
        self._check("delete (dry run)" if dry_run else "delete", resource, name)
        key = (resource.plural, self.namespace if namespace is None else namespace, name)
        if key not in self.objects:
            raise NotFoundError(f'Error from server (NotFound): "{name}" not found')
        if uid and self.objects[key]["metadata"]["uid"] != uid:
            raise ConflictError(f"Error from server (Conflict): the UID in the precondition ({uid}) does not match")
        return self.objects[key] if dry_run else self.objects.pop(key)

    async def watch(self, resource, namespace=None, *, labels="", fields=""):
        for body in await self.list(resource, namespace, labels=labels, fields=fields):
            yield Event("ADDED", body)
        yield Event("SYNCED", {})
        await asyncio.sleep(0)  # Other watches have their turn, as they would while a server is waited for.
        while self.changes and resource is not CHREK_NODES:
            change = self.changes.pop(0)
            if isinstance(change, BaseException):
                raise change
            yield Event(*change)

    async def log_lines(self, pod, namespace=None, *, container="", tail=0, follow=False):
        self.calls.append(("logs", pod, container))
        for line in self.logs[pod]:
            if isinstance(line, BaseException):
                raise line
            yield line

    async def version(self):
        return "v1.33.0"


@pytest.fixture
def fake(monkeypatch):
    """The cluster that commands find."""
    cluster = FakeCluster()

    @asynccontextmanager
    async def open_cluster(options):
        cluster.options = options
        cluster.namespace = options.namespace or "default"
        yield cluster

    monkeypatch.setattr("kubectl_chrek.cli.session.open_cluster", open_cluster)
    return cluster


@pytest.fixture
def fleet(fake):
    """Two checkpoints of one model, used and unused, one of another that is pinned; a node that fits and one that is too old."""
    record = {"kernel": "6.12.0", "criu": "4.2", "architecture": "x86_64", "gpus": [], "argv": ["python3", "-m", "w"]}
    processes = [
        {"pid": 7, "name": "python3", "threads": 12, "bytes": 3 << 30},
        {"pid": 1001, "name": "engine", "threads": 1, "bytes": 1 << 20},
    ]
    artifact = {"generation": "g1", "digest": "d1", "bytes": 4 << 30, "files": 9, "node": "new", "compatibility": record}
    inventory = {
        "processCount": 3,
        "resident": {"anonymous": 3 << 30, "shared": 1 << 20},
        "mapped": {"anonymous": 4 << 30, "reserved": 1 << 40},
        "openFiles": {"file": 2, "tcp": 1},
        "processes": [
            {"pid": 7, "parent": 1, "command": "python3 -m w --api-key ***", "resident": {"anonymous": 3 << 30}, "files": 2},
            {"pid": 1001, "parent": 7, "command": "engine", "resident": {"shared": 1 << 20}, "files": 1},
        ],
        "sockets": ["tcp 0.0.0.0:8000 listening"],
        "files": ["/models/m\x1b[2J", "/tmp/x"],
        "variables": ["HF_TOKEN", "PATH"],
        "omitted": {"processes": 1, "variables": 40},
    }
    shared = {
        "storedBytes": 1 << 30,
        "uniqueBytes": 1 << 29,
        "processes": processes,
        "inventory": inventory,
        "coldStartSeconds": 60.0,
    }
    place = {"storageType": "pvc", "location": "/checkpoints/x"}
    fake.checkpoint("used", phase="Ready", artifact=artifact | shared, **place)
    fake.checkpoint("idle", phase="Ready", artifact=artifact | {"generation": "g2", "bytes": 2 << 30}, **place)
    pin = {"annotations": {"nvidia.com/chrek-pin": "true"}}
    fake.checkpoint("other", model="o", phase="Ready", artifact=artifact | {"bytes": 1 << 30}, metadata=pin, **place)
    fake.checkpoint("empty", phase="Creating")
    fake.put(GRAPHS, "llm", spec={"services": {"Worker": {"checkpoint": {"enabled": True, "checkpointRef": "used"}}}})
    store = {"type": "pvc", "location": "/checkpoints", "storedBytes": 5 << 30, "freeBytes": 3 << 30, "totalBytes": 100 << 30}
    store |= {"artifacts": 3, "measuredAt": "2026-01-31T11:58:00.123456+00:00"}
    for name, kernel, heard in (("new", "6.12.4", "2026-01-31T11:59:50Z"), ("old", "6.1.0", "2026-01-31T11:59:40Z")):
        status = {
            "agent": {"version": __version__, "heartbeatAt": heard},
            "platform": record | {"kernel": kernel},
            "store": store,
            "checks": [{"name": "criu", "verdict": "ok"}],
        }
        fake.put(CHREK_NODES, name, namespace="", status=status)
        fake.put(NODES, name, namespace="", status={"allocatable": {"nvidia.com/gpu": "1"}})
    for name, source in (("checkpoint-used-a", "true"), ("worker-b", "false")):
        labels = {"nvidia.com/checkpoint-name": "used", "nvidia.com/checkpoint-source": source}
        spec = {"nodeName": "new", "containers": [{"name": "main"}]}
        fake.put(PODS, name, metadata={"labels": labels}, spec=spec, status={"phase": "Running"})
    fake.put(
        PODS, "agent-n", namespace="chrek", metadata={"labels": AGENT}, spec={"nodeName": "new", "containers": [{"name": "a"}]}
    )
    fake.logs = {
        "checkpoint-used-a": ["2026-01-31T11:00:00.1Z loading", "2026-01-31T11:00:02Z ready\x1b[2J"],
        "worker-b": ["2026-01-31T11:00:01Z restored"],
        "agent-n": ["2026-01-31T11:00:01.5Z capture of default/used began", "2026-01-31T11:00:01.6Z something else"],
    }
    for name, kind, about, component in (
        ("e1", "DynamoCheckpoint", "used", "chrek-agent"),
        ("e2", "Pod", "worker-b", "kubelet"),
        ("e3", "Pod", "stranger", "kubelet"),
    ):
        event = {
            "involvedObject": {"kind": kind, "name": about},
            "source": {"component": component},
            "reason": "R",
            "message": "m\n",
        }
        fake.put(EVENTS, name, **event, type="Normal", lastTimestamp="2026-01-31T11:30:00Z", count=2)
    return fake


@pytest.fixture
def chrek(monkeypatch, capsys):
    """Runs the command line: `chrek("ls", "-A")` returns code, out and err."""
    monkeypatch.setattr("kubectl_chrek.ops.clock.now", lambda: NOW)

    def run(*args):
        diagnostics.set_verbosity(0)
        with pytest.raises(SystemExit) as left:
            app(list(args))
        out, err = capsys.readouterr()
        return Result(left.value.code, out, err)

    return run


@pytest.fixture
def stdin(monkeypatch):
    """Puts bytes into stdin."""
    import io

    def put(data, *, tty=False):
        stream = io.TextIOWrapper(io.BytesIO(data))
        stream.isatty = lambda: tty
        monkeypatch.setattr("sys.stdin", stream)

    return put
