"""Containers without a container runtime: a PID namespace of our own, and control directories in a temporary folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.store.store import Store
from kubectl_chrek.api import names

sys.path.append(str(Path(__file__).parent))

from apart_world import World
from fake_cuda import FakeCuda
from loader_world import Started


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def make_container() -> Callable[..., Container]:
    def make(init: int | None = None, cgroups: tuple[Path, ...] = ()) -> Container:
        process = processes.read_process(init or os.getpid())
        assert process is not None
        return Container("c0ffee" * 10, "main", process.pid, process.start, cgroups)

    return make


@pytest.fixture
def signal_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control directory of every container of this test; its root is ours."""
    path = tmp_path / "signal"
    path.mkdir()
    monkeypatch.setattr(names, "CONTROL_DIR", str(path))
    return path


@pytest.fixture
def cuda() -> FakeCuda:
    """A stand-in for the driver's library."""
    return FakeCuda()


@pytest.fixture
def world(make_container: Callable[..., Container], signal_directory: Path, tmp_path: Path) -> World:
    """A container, its control directory and a store, for what is kept apart."""
    return World(make_container(), signal_directory, Store.at(tmp_path / "store"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The loaders that are started, on the stand-in."""
    return Started(monkeypatch)


@dataclass(frozen=True)
class Namespace:
    """A PID namespace; `starter` is the process outside that waits for its PID 1."""

    init: int
    starter: subprocess.Popen[str]

    def others(self) -> list[processes.Process]:
        return [process for process in processes.namespace_members(self.init) if process.pid != self.init]


@pytest.fixture
def pid_namespace(as_root: None) -> Iterator[Callable[..., Namespace]]:
    """Starts a Python program as PID 1 of a namespace and waits for its first line."""
    started: list[Namespace] = []

    def start(program: str) -> Namespace:
        command = ["unshare", "-p", "-f", "--mount-proc", sys.executable, "-c", program]
        starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        started.append(Namespace(int(children[0]), starter))
        return started[-1]

    yield start
    for namespace in started:
        if processes.read_process(namespace.init) is not None and namespace.starter.poll() is None:
            os.kill(namespace.init, 9)
        namespace.starter.wait()
        assert namespace.starter.stdout is not None
        namespace.starter.stdout.close()
