"""Stores in memory and on disk, with a clock of their own, and with faults at any call."""

import itertools
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from chrek_agent.store.backend import Backend, Entry
from chrek_agent.store.local import DirectoryBackend
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.s3 import S3Backend
from chrek_agent.store.s3uploads import Credentials
from chrek_agent.store.where import Bucket, Repository
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.local import remotes

sys.path.append(str(Path(__file__).parent))
from faulty_proxy import Proxy
from strict_registry import StrictRegistry

CRANE = Path(__file__).parents[3] / ".cache/crane/usr/bin/crane"
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

    def read_into(self, key: str, offset: int, into: memoryview) -> int:
        content = self.read(key, offset, len(into))
        into[: len(content)] = content
        return len(content)

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


@dataclass
class Servers:
    """Stores on loopback, each started when the first test wants it."""

    base: Path
    stack: ExitStack
    seaweedfs: str = ""
    moto: str = ""
    registry: str = ""
    cranes: str = ""

    def s3_seaweedfs(self) -> S3Backend:
        """A new prefix in a bucket of SeaweedFS."""
        self.seaweedfs = self.seaweedfs or self._start("weed", remotes.seaweedfs)
        return self.s3(self.seaweedfs)

    def s3_moto(self) -> S3Backend:
        """A new prefix in a bucket of moto, which wants an older dateutil than we do, hence an environment of its own."""
        self.moto = self.moto or self._start("moto", _moto)
        return self.s3(self.moto)

    def oci(self) -> RegistryBackend:
        """A new repository in a registry."""
        self.registry = self.registry or self._start("registry", remotes.registry)
        return self.repository(self.registry)

    def crane(self) -> str:
        """The registry that `crane` itself has: it takes chunks, and does not tell where an upload stands."""
        self.cranes = self.cranes or self._start("crane", _crane)
        return self.cranes

    def repository(self, host: str, **options: Any) -> RegistryBackend:
        """A new repository of a registry."""
        return RegistryBackend(Repository(host, f"chrek/{secrets.token_hex(8)}", plain_http=True), login=Login(), **options)

    def s3(
        self, endpoint: str, *, secret: str = remotes.SECRET_KEY, bucket: str = remotes.BUCKET, prefix: str = "", **options: Any
    ) -> S3Backend:
        """A new prefix at an endpoint, or that one."""
        place = Bucket(bucket, prefix or secrets.token_hex(8), endpoint, path_style=True)
        return S3Backend(place, credentials=Credentials(remotes.ACCESS_KEY, secret), **options)

    def _start(self, name: str, start: Callable[[Path], Any]) -> str:
        directory = self.base / name
        directory.mkdir()
        try:
            endpoint: str = self.stack.enter_context(start(directory))
        except UsageError as error:
            pytest.skip(str(error))
        return endpoint


@contextmanager
def _moto(directory: Path) -> Iterator[str]:
    beside = Path(__file__).parents[3] / ".cache/moto/bin/moto_server"
    program = shutil.which("moto_server") or (str(beside) if beside.exists() else "")
    if not program:
        raise UsageError("moto is not installed: pip install 'moto[server]' in .cache/moto, an environment of its own")
    (port,) = remotes.free_ports(1)
    command = [program, "-H", "127.0.0.1", "-p", str(port)]
    with remotes.served(command, directory / "moto.log", f"http://127.0.0.1:{port}/") as endpoint:
        with urllib3.PoolManager() as client:
            assert client.request("PUT", f"{endpoint}/{remotes.BUCKET}").status == 200
        yield endpoint


@contextmanager
def _crane(directory: Path) -> Iterator[str]:
    if not CRANE.exists():
        raise UsageError("crane is not installed: scripts/install-programs")
    (port,) = remotes.free_ports(1)
    command = [str(CRANE), "registry", "serve", "--address", f"127.0.0.1:{port}", "--disk", str(directory)]
    with remotes.served(command, directory / "crane.log", f"http://127.0.0.1:{port}/v2/"):
        yield f"127.0.0.1:{port}"


BACKENDS: dict[str, Callable[[Path, Servers], Backend]] = {
    "directory": lambda path, servers: DirectoryBackend(path / "store"),
    "memory": lambda path, servers: MemoryBackend(),
    "oci": lambda path, servers: servers.oci(),
    "s3-moto": lambda path, servers: servers.s3_moto(),
    "s3-seaweedfs": lambda path, servers: servers.s3_seaweedfs(),
}
"""All kinds of backends: each has to pass `test_store_backend.py`."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(remotes, "_STOP_SECONDS", 0.0)  # Nobody needs their data any more.
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(autouse=True)
def without_syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here has to outlive the machine, and waiting for its disk is a third of these tests."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Backend:
    return BACKENDS[request.param](tmp_path, servers)


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """A server in a thread of this process."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], Proxy]]:
    with ExitStack() as stack:

        def make(upstream: str) -> Proxy:
            proxy = stack.enter_context(serving(Proxy(upstream)))
            stack.callback(proxy.ended.set)
            return proxy

        yield make


@pytest.fixture
def strict() -> Iterator[StrictRegistry]:
    with serving(StrictRegistry()) as server:
        yield server


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
