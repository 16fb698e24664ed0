"""Containers without a runtime: namespaces by unshare, our shim as PID 1, standard streams as pipes."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chrek_worker
from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.standalone.locating import by_pid
from kubectl_chrek.api import names

SCRIPT = Path(__file__).with_name("container.sh")
LIBRARY = Path(chrek_worker.__file__).with_name(names.DRIVER_COPY_FILE)
STATE = "/bench/state"
MARKER = "/tmp/restored"
"""Where a worker in a container says how far it is."""
_LIBC = ctypes.CDLL(None)
_SET_DEATH_SIGNAL = 1


@dataclass(frozen=True)
class Box:
    """A running container."""

    container: Container
    directory: Path
    log: Path

    def state(self) -> dict[str, Any] | None:
        """What the worker has said last; None while it has said nothing."""
        try:
            return json.loads((self.container.root / STATE.lstrip("/")).read_text())
        except (OSError, ValueError):
            return None

    def worker(self) -> processes.Process:
        """The root of the worker's tree."""
        members = processes.namespace_members(self.container.init)
        return next(process for process in members if process.parent == self.container.init)

    def said_after(self, moment: float, seconds: float) -> dict[str, Any]:
        """What the worker says first after that moment of the wall clock: its monotonic one goes on from the capture."""

        def said() -> dict[str, Any] | None:
            assert self.container.running(), f"the container has ended: {self.log.read_text(errors='replace')[-2000:]}"
            found = self.state()
            return found if found and found["at"] > moment else None

        return until(said, seconds, self.log)


def until(condition: Callable[[], Any], seconds: float, log: Path) -> Any:
    """The first true value; AssertionError with the end of the log when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.001)
    raise AssertionError(f"not within {seconds:g} s: {log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def source(directory: Path, command: Sequence[str], *, bare: bool = False) -> Iterator[Box]:
    """A container whose worker is to be captured; `bare`: with nothing of ours in it."""
    env = {names.ENV_SIGNAL_FILE: f"{names.CONTROL_DIR}/done", names.ENV_MARKER_FILE: MARKER}
    with _container(directory, command, env | ({names.ENV_DRIVER_COPY: "off"} if bare else {})) as box:
        yield box


@contextlib.contextmanager
def target(directory: Path, command: Sequence[str]) -> Iterator[Box]:
    """A container that waits to be restored."""
    with _container(directory, command, {names.ENV_CLAIM_SECONDS: "600"}) as box:
        waiting = box.container.root / names.CONTROL_DIR.lstrip("/") / "waiting"
        until(waiting.exists, 30, box.log)
        yield box


@contextlib.contextmanager
def _container(directory: Path, command: Sequence[str], env: dict[str, str]) -> Iterator[Box]:
    directory.mkdir(parents=True)
    log = directory / "log"
    spaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
    inside = ["sh", str(SCRIPT), str(directory), str(LIBRARY), sys.executable, "-m", "chrek_worker", "--", *command]
    outer = subprocess.Popen(
        ["unshare", *spaces, *inside],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | env,
        start_new_session=True,
        preexec_fn=lambda: _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL),  # noqa: PLW1509 - one call, no lock
    )
    threading.Thread(target=_copy, args=(outer.stdout, log), daemon=True).start()
    try:
        init = until(lambda: _shim(outer), 30, log)
        yield Box(by_pid(init, Path("/sys/fs/cgroup")), directory, log)
    finally:
        for child in _children(outer.pid):
            processes.send(child, signal.SIGKILL)
        outer.wait()


def _copy(pipe: Any, log: Path) -> None:
    with log.open("ab", buffering=0) as file:
        while piece := pipe.read1(65536):
            file.write(piece)


def _shim(outer: "subprocess.Popen[bytes]") -> int | None:
    """PID 1 of the container, once it is our shim."""
    assert outer.poll() is None, "the container ended"
    for child in _children(outer.pid):
        if b"chrek_worker" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[2:3]:
            return child
    return None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
