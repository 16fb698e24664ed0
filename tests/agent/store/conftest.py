"""Stores in memory and on disk, with a clock of their own, and with faults at any call."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chrek_agent.store.backend import Backend, Entry
from chrek_agent.store.local import DirectoryBackend
from chrek_agent.store.model import Fields, Owner, Source

HASH = "5941a4cb3c363457"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryBackend:
    """A backend like a bucket: no local files, and a clock that tests set."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.unfinished: dict[object, datetime] = {}
        self.now = EPOCH
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        with self._lock:
            if if_absent and key in self.objects:
                raise FileExistsError(key)
            self.objects[key] = bytes(data), self.now

    def writer(self, key: str) -> "_MemoryWriter":
        return _MemoryWriter(self, key)

    def read(self, key: str, offset: int, length: int) -> bytes:
        return self._get(key)[offset : offset + length]

    def size(self, key: str) -> int:
        return len(self._get(key))

    def list(self, prefix: str) -> list[Entry]:
        with self._lock:
            return sorted(Entry(key, len(data), at) for key, (data, at) in self.objects.items() if key.startswith(prefix))

    def delete(self, key: str) -> None:
        with self._lock:
            self.objects.pop(key, None)

    def local(self, key: str) -> Path | None:
        return None

    def prune(self, before: datetime) -> int:
        old = [writer for writer, begun in self.unfinished.items() if begun < before]
        for writer in old:
            del self.unfinished[writer]
        return len(old)

    def _get(self, key: str) -> bytes:
        with self._lock:
            if key not in self.objects:
                raise FileNotFoundError(2, "no such object", key)
            return self.objects[key][0]


class _MemoryWriter:
    def __init__(self, backend: MemoryBackend, key: str) -> None:
        self._backend, self._key, self._pieces = backend, key, bytearray()
        backend.unfinished[self] = backend.now

    def write(self, *pieces: Any) -> None:
        for piece in pieces:
            self._pieces += piece

    def close(self) -> None:
        self._backend.put(self._key, bytes(self._pieces))
        self.abort()

    def abort(self) -> None:
        self._backend.unfinished.pop(self, None)


class Crash(BaseException):
    """The agent is dead."""


@dataclass
class Faulty:
    """Passes calls on; at one of them something happens: the agent dies before or after it, it fails, or another agent acts."""

    inner: Any
    events: dict[int, str | Callable[[], object]] = field(default_factory=dict)
    dead: bool = False
    calls: list[str] = field(default_factory=list)

    def arm(self, events: dict[int, str | Callable[[], object]]) -> None:
        """What happens at which of the following calls: a word as below, or another agent's action before it."""
        self.events = {len(self.calls) + number: event for number, event in events.items()}

    def call(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.dead:
            raise Crash
        event = self.events.get(len(self.calls), "")
        self.calls.append(name)
        if callable(event):
            event()
        if event == "die before":
            self.dead = True
            raise Crash
        if event == "fail before":
            raise OSError(5, "fault")
        result = function(*args, **options)
        if event == "die after":
            self.dead = True
            raise Crash
        if event == "fail after":
            raise OSError(5, "fault")
        return result

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.inner, name)
        if name == "writer":
            return lambda key: _FaultyWriter(self, self.call(name, function, key))
        return lambda *args, **options: self.call(name, function, *args, **options)


class _FaultyWriter:
    def __init__(self, faulty: Faulty, inner: Any) -> None:
        self._faulty, self._inner = faulty, inner

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._inner, name)
        return lambda *args: self._faulty.call(f"writer.{name}", function, *args)


BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "directory": lambda path: DirectoryBackend(path / "store"),
    "memory": lambda path: MemoryBackend(),
}
"""All kinds of backends: each has to pass `test_store_backend.py`."""


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return BACKENDS[request.param](tmp_path)


@pytest.fixture(scope="session")
def memory_backend() -> type[MemoryBackend]:
    return MemoryBackend


@pytest.fixture(scope="session")
def faulty() -> type[Faulty]:
    return Faulty


@pytest.fixture(scope="session")
def crash() -> type[Crash]:
    return Crash


@pytest.fixture(scope="session")
def make_fields() -> Callable[..., Fields]:
    def make(uid: str = "uid-1", identity_hash: str = HASH) -> Fields:
        return Fields(
            identity_hash=identity_hash,
            identity={"model": "m"},
            created_at=EPOCH,
            owner=Owner(namespace="ns", name="cp", uid=uid),
            source=Source(node="n", pod="p", container="main", image="i", image_id="", worker=1, pids=[1], pipes={1: "pipe:[7]"}),
            compatibility={"architecture": "x86_64"},
            deleted=["etc/motd"],
        )

    return make


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """New names for scratch directories."""
    base = tmp_path_factory.mktemp("scratch")
    numbers = itertools.count()
    return lambda: base / str(next(numbers))


@pytest.fixture(scope="session")
def hour() -> timedelta:
    return timedelta(hours=1)
