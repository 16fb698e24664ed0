"""Runs CRIU: in a session of its own, inside a container's namespaces, with a wall-clock limit."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from io import FileIO
from pathlib import Path

from chrek_agent.container.discovery import Container
from chrek_agent.criu import options
from chrek_agent.criu.log import explain, interrupted
from chrek_agent.errors import AgentError, CaptureError, RestoreError

Started = Callable[[int], None]
"""Called with CRIU's process group as soon as it runs, so that a journal can name it."""


class OvertimeError(CaptureError):
    """CRIU did not finish its dump in time; there is no use in trying again."""


class InterruptedDumpError(CaptureError):
    """A signal to the worker has made CRIU give up; another dump may succeed."""


class Criu:
    """One CRIU installation; `root` is the tree that holds usr/sbin/criu and its libraries."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def version(self) -> str:
        """Its version, such as `4.2.1`. Raises AgentError when it does not run."""
        pipe = asyncio.subprocess.PIPE
        try:
            with ExitStack() as stack:
                criu_fd = _open(stack, self.root)
                command = [*options.program(criu_fd), "--version"]
                process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, pass_fds=[criu_fd])
                output, _ = await process.communicate()
            match = re.search(rb"Version:\s*(\S+)", output) if process.returncode == 0 else None
        except OSError:
            match = None
        if match is None:
            hint = "install CRIU >= 4.1 and name its tree with --criu-root or CHREK_CRIU_ROOT"
            raise AgentError(f"CRIU does not run from {self.root}", hint=hint)
        return match[1].decode()

    async def dump(self, container: Container, worker: int, images: Path, work: Path, *, seconds: float, started: Started) -> None:
        """Dumps the tree of `worker` (its PID inside the container) into `images`; it is left stopped.

        Raises:
            CaptureError: With the reason from CRIU's log; OvertimeError and InterruptedDumpError are told apart. CRIU let the
                worker go on, or the caller must resume it.
        """
        with ExitStack() as stack:
            criu_fd, images_fd, work_fd = (_open(stack, path) for path in (self.root, images, work))
            words = options.dump(worker, images_fd=images_fd, work_fd=work_fd)
            command = [*options.enter(container.init, ipc=not container.has_system_v()), *options.program(criu_fd), *words]
            code = await _run(command, [criu_fd, images_fd, work_fd], seconds=seconds, started=started)
        if code != 0:
            raise _failure(work, code)

    @asynccontextmanager
    async def dump_in_place(
        self, container: Container, worker: int, images: Path, work: Path, *, seconds: float, started: Started
    ) -> AsyncIterator[None]:
        """As `dump`, but private memory stays where it is: in the block the tree stands still, and the images lack nothing else.

        CRIU takes two descriptors for each MiB or so, and fails where it may not have so many.

        Raises:
            CaptureError: As `dump`. What the block raises ends CRIU and is raised.
        """
        with ExitStack() as stack:
            criu_fd, images_fd, work_fd = (_open(stack, path) for path in (self.root, images, work))
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            ready, tell = (stack.enter_context(end) for end in _pipe())
            words = options.dump(worker, images_fd=images_fd, work_fd=work_fd)
            words += options.in_place(socket_fd=theirs.fileno(), ready_fd=tell.fileno())
            command = [*options.enter(container.init, ipc=not container.has_system_v()), *options.program(criu_fd), *words]
            passed = [criu_fd, images_fd, work_fd, theirs.fileno(), tell.fileno()]
            async with _running(command, passed, started=started) as process:
                # From now on only CRIU holds these: their end is its end.
                theirs.close()
                tell.close()
                try:
                    async with asyncio.timeout(seconds):
                        if not await _first_byte(ready.fileno()):
                            raise _failure(work, await process.wait())
                        yield
                        ours.close()
                        code = await process.wait()
                except TimeoutError as error:
                    raise _failure(work, None) from error
        if code != 0:
            raise _failure(work, code)

    async def restore(
        self,
        container: Container,
        images: Path,
        work: Path,
        streams: Mapping[int, str],
        *,
        seconds: float,
        started: Started,
        lazy: bool = False,
    ) -> None:
        """Restores the tree in `images` into the container, stopped, as a child of its PID 1.

        Args:
            container: Where to.
            images: CRIU's images; only read.
            work: For the log.
            streams: Descriptor of the container's PID 1 -> `pipe:[inode]` in the images that it takes the place of.
            seconds: Wall-clock limit.
            started: See Started.
            lazy: Whoever touches private memory that is not in the images is held up, and chrek_agent.criu.lazy listens in `work`.

        Raises:
            RestoreError: With the reason from CRIU's log; the caller must end what is half restored.
        """
        with ExitStack() as stack:
            criu_fd, images_fd, work_fd = (_open(stack, path) for path in (self.root, images, work))
            pipes = {_open_stream(stack, container, fd): pipe for fd, pipe in streams.items()}
            cgroups = [_open(stack, path / "cgroup.procs", os.O_WRONLY) for path in container.cgroups]
            words = options.restore(images_fd=images_fd, work_fd=work_fd, streams=pipes, lazy=lazy)
            command = [*options.enter(container.init), *options.program(criu_fd), *words]
            passed = [criu_fd, images_fd, work_fd, *pipes]
            code = await _run(command, passed, seconds=seconds, started=started, cgroups=cgroups)
        if code != 0:
            raise RestoreError(explain(work / "restore.log", "restore", code))


def _failure(work: Path, code: int | None) -> CaptureError:
    """Why a dump failed, by its log; `code` None means that its time was up."""
    log = work / "dump.log"
    kind = OvertimeError if code is None else InterruptedDumpError if interrupted(log) else CaptureError
    return kind(explain(log, "dump", code))


def _open(stack: ExitStack, path: Path, flags: int = os.O_RDONLY) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _open_stream(stack: ExitStack, container: Container, number: int) -> int:
    """Our own end of a standard stream of the container's PID 1."""
    flags = os.O_RDONLY if number == 0 else os.O_WRONLY
    # Opened without waiting for the other end, then as the worker expects it: it will inherit the flag.
    descriptor = _open(stack, Path(f"/proc/{container.init}/fd/{number}"), flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _pipe() -> tuple[FileIO, FileIO]:
    ready, tell = os.pipe2(os.O_CLOEXEC)
    return FileIO(ready, "rb"), FileIO(tell, "wb")


async def _first_byte(descriptor: int) -> bytes:
    """What is first written to a pipe; nothing when its other end is closed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 1)


async def _run(
    command: Sequence[str], descriptors: Sequence[int], *, seconds: float, started: Started, cgroups: Sequence[int] = ()
) -> int | None:
    """Exit code, or None when its time was up; then, and when we are cancelled, its whole process group is killed."""
    async with _running(command, descriptors, started=started, cgroups=cgroups) as process:
        try:
            return await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            return None


@asynccontextmanager
async def _running(
    command: Sequence[str], descriptors: Sequence[int], *, started: Started, cgroups: Sequence[int] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs it in a session of its own; what is left of its process group at the end is killed."""

    def join_cgroups() -> None:
        for descriptor in cgroups:
            # Some v1 hierarchies refuse (a cpuset without CPUs); the others hold the process all the same.
            with contextlib.suppress(OSError):
                os.write(descriptor, b"0")

    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdin=null, stdout=null, stderr=null, start_new_session=True, pass_fds=descriptors, preexec_fn=join_cgroups
    )
    try:
        started(process.pid)
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
