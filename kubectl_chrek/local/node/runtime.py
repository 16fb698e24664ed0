"""Containers on this machine: runc makes them, and their processes become children of this one."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.node import orphans, snapshots
from kubectl_chrek.local.node.config import NodeConfig
from kubectl_chrek.local.node.logs import Log

_PR_SET_CHILD_SUBREAPER: Final = 36


class StartError(ChrekError):
    """runc could not start the container; the message is its own."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended; `signal` is 0 unless one ended it."""

    code: int
    signal: int
    time: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in a container left."""

    code: int
    out: bytes
    err: bytes


@dataclass(frozen=True, slots=True)
class Handle:
    """A running container: its first process as the host numbers it, and a descriptor that stands for it alone."""

    id: str
    pid: int
    descriptor: int

    def send(self, number: int) -> None:
        """Signals the container's first process, which may be gone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)


def adopt_orphans(*, on: bool) -> None:
    """Makes this process the parent of what its children leave behind: runc exits, the container stays."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


class Runtime:
    """runc, with the node's directories."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._runc = ("runc", "--root", str(config.runc_root))
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, identifier: str, spec: Mapping[str, Any], log: Log) -> Handle:
        """Starts the container in its prepared bundle; stdout and stderr are two pipes into `log`.

        Raises:
            StartError: runc refused: no such program, a mount that cannot be, ...
        """
        bundle = self._config.bundle(identifier)
        (bundle / "config.json").write_text(json.dumps(spec))
        out, err = log.stream("stdout"), log.stream("stderr")
        argv = (*self._runc, "--log", str(bundle / "log.json"), "--log-format", "json", "run", "--detach")
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                *("--bundle", str(bundle), "--pid-file", str(bundle / "init.pid"), identifier),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        finally:
            os.close(out)
            os.close(err)
        if await process.wait() != 0:
            raise StartError(_reason(bundle / "log.json"))
        pid = int((bundle / "init.pid").read_text())
        return Handle(identifier, pid, os.pidfd_open(pid))

    async def wait(self, handle: Handle) -> Exit:
        """Returns when the container's first process has ended, and with it all of its PID namespace."""
        await _readable(handle.descriptor)
        return _collect(handle)

    async def remove(self, identifier: str) -> None:
        """Removes a container that has ended, or never started, with its root file system."""
        process = await asyncio.create_subprocess_exec(
            *self._runc, "delete", "--force", identifier, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await process.wait()
        snapshots.remove_root(self._config, identifier)

    async def execute(self, identifier: str, command: Sequence[str], timeout: float | None = None) -> Result:
        """Runs a command in the container and waits for it.

        Raises:
            TimeoutError: It took longer; it is killed then.
        """
        process = await self.open(identifier, command)
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout)
        finally:
            if process.returncode is None:
                process.kill()
        return Result(process.returncode or 0, out, err)

    async def open(self, identifier: str, command: Sequence[str]) -> asyncio.subprocess.Process:
        """Starts a command in the container, with three pipes; to kill the process ends the command."""
        pid_file = self._config.bundle(identifier) / f"exec-{os.urandom(8).hex()}.pid"
        process = await asyncio.create_subprocess_exec(
            *self._runc,
            *("exec", "--pid-file", str(pid_file), identifier, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        task = asyncio.create_task(_end_command(process.pid, pid_file, identifier, command))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return process


async def _end_command(runc: int, pid_file: Path, identifier: str, command: Sequence[str]) -> None:
    """When `runc exec` is gone, ends what it ran: killed itself it leaves that behind, and it is ours then.

    What it ran may be at work before runc writes its number down: then it is found by its container and its words.
    """
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(runc)
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)
    try:
        left = [int(_take(pid_file))]
    except (OSError, ValueError):
        left = _left_behind(identifier, command)
    for pid in left:
        with contextlib.suppress(OSError):
            _end_orphan(pid)


async def _readable(descriptor: int) -> None:
    """Returns when the process that the descriptor stands for has ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)


def _take(pid_file: Path) -> str:
    try:
        return pid_file.read_text()
    finally:
        pid_file.unlink(missing_ok=True)


def _left_behind(identifier: str, command: Sequence[str]) -> list[int]:
    """Children of ours in a container that run this command."""
    found, words = [], b"".join(word.encode() + b"\0" for word in command)
    for pid in orphans.children():
        process = Path("/proc", str(pid))
        with contextlib.suppress(OSError):
            if identifier in (process / "cgroup").read_text() and (process / "cmdline").read_bytes() == words:
                found.append(pid)
    return found


def _end_orphan(pid: int) -> None:
    """Kills and buries a child of ours; OSError when it is none, for runc has buried it itself."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _collect(handle: Handle) -> Exit:
    """Takes the exit status of a child that has ended."""
    result = os.waitid(os.P_PIDFD, handle.descriptor, os.WEXITED)
    os.close(handle.descriptor)
    if result is None or result.si_code == os.CLD_EXITED:
        return Exit(result.si_status if result else 0, 0, time.time())
    return Exit(128 + result.si_status, result.si_status, time.time())


def _reason(log: Path) -> str:
    """The last error in runc's log."""
    message = "runc failed and said nothing"
    if log.exists():
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if entry.get("level") == "error":
                message = str(entry["msg"]).removeprefix("runc run failed: ")
    return message
