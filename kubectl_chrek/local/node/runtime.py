"""Containers on this machine: runc makes them, and their processes become children of this one."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.node import snapshots
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
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(handle.descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle.descriptor)
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
        async with self.session(identifier, command) as process:
            out, err = await asyncio.wait_for(process.communicate(), timeout)
        return Result(process.returncode or 0, out, err)

    @contextlib.asynccontextmanager
    async def session(self, identifier: str, command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs in the container, with pipes; it is killed when the block is left before its end."""
        bundle = self._config.bundle(identifier)
        pid_file = bundle / f"exec-{os.urandom(8).hex()}.pid"
        process = await asyncio.create_subprocess_exec(
            *self._runc,
            *("exec", "--pid-file", str(pid_file), identifier, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                await _kill_session(process, pid_file)
            pid_file.unlink(missing_ok=True)


async def _kill_session(process: asyncio.subprocess.Process, pid_file: Path) -> None:
    # runc ends when what it started does; killed itself, it would leave that running.
    _kill_written(pid_file)
    try:
        await asyncio.wait_for(process.wait(), 1)
    except TimeoutError:
        process.kill()
        await process.wait()


def _kill_written(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


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
