"""The command line in this process, on a cluster that is a dictionary, at a time that stands still."""

import copy
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from kubectl_chrek.api.errors import ConflictError, NotFoundError
from kubectl_chrek.cli import diagnostics
from kubectl_chrek.cli.main import app
from kubectl_chrek.cluster import Event
from kubectl_chrek.cluster.resources import CHECKPOINTS

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@dataclass
class Result:
    code: int
    out: str
    err: str


class FakeCluster:
    """As much of Cluster as commands use. `failing` makes requests about a plural fail; `on_watch` edits between events."""

    def __init__(self):
        self.namespace = "default"
        self.objects = {}
        self.failing = {}
        self.calls = []
        self.changes = []
        self.request_seconds = 30.0
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
        return copy.deepcopy(found)

    async def create(self, resource, body, namespace=None, *, dry_run=False):
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
        while self.changes:
            change = self.changes.pop(0)
            if isinstance(change, BaseException):
                raise change
            yield Event(*change)

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
