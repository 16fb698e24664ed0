"""A dump with its bulk in the store: the fast way where it can be gone, else a plain dump that is taken apart."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.container.thaw import thaw
from chrek_agent.criu.runner import Criu, InterruptedDumpError, OvertimeError
from chrek_agent.errors import CaptureError
from chrek_agent.memory.harvest import harvest
from chrek_agent.memory.pool import interruptible
from chrek_agent.store.model import IMAGES
from chrek_agent.store.writer import ArtifactWriter
from chrek_agent.telemetry.timing import Phases

LOG: Final = logging.getLogger(__name__)

# CRIU's own, and those that it opens beside the memory's.
_SPARE_FILES: Final = 512
# The largest pipe that it asks for; each holds that much memory and takes two descriptors.
_PIPE: Final = 4 << 20
_PIPE_LIMIT: Final = Path("/proc/sys/fs/pipe-max-size")
_CAP_SYS_RESOURCE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Take:
    """One dump of the tree below `root`."""

    criu: Criu
    container: Container
    root: int
    """The worker's PID inside the container."""
    work: Path
    """For CRIU's log."""
    seconds: float
    started: Callable[[int], None]
    resident: int
    """About as many bytes as there are to take."""
    progress: Callable[[int], None]
    halted: Collection[int] = ()
    """PIDs in the container of what its own user has stopped; that stays so between two dumps."""

    async def run(self, begin: Callable[[], ArtifactWriter], phases: Phases) -> ArtifactWriter:
        """Dumps the tree and leaves it stopped.

        Args:
            begin: Begins the artifact; called again when the first one has to be given up.
            phases: Gets `dump` and `memory`, and `plain` where the fast way failed.

        Returns:
            The artifact under way: its runs are in it, its images in its staging directory, complete but for them.

        Raises:
            CaptureError: CRIU cannot dump it.
            OSError: The store or the node refused.
        """
        obstacle = self._obstacle()
        if not obstacle:
            try:
                return await self._persistently(begin, lambda writer: self._in_place(writer, phases))
            except OvertimeError:
                raise
            except CaptureError as error:
                obstacle = str(error)
                thaw(self.container.init, self.halted)
        LOG.warning("container %s: memory is dumped by CRIU, which takes longer: %s", self.container.name, obstacle)
        return await self._persistently(begin, lambda writer: self._plain(writer, phases))

    async def _persistently(
        self, begin: Callable[[], ArtifactWriter], fill: Callable[[ArtifactWriter], Awaitable[None]]
    ) -> ArtifactWriter:
        """As `_guarded`, and once more if a signal to the worker came in between: nothing is wrong then, and few come twice."""
        try:
            return await _guarded(begin, fill)
        except InterruptedDumpError as error:
            LOG.warning("container %s: it is dumped once more: %s", self.container.name, error)
            thaw(self.container.init, self.halted)
        return await _guarded(begin, fill)

    def _obstacle(self) -> str:
        """Why not even to try the fast way; empty: nothing known."""
        pipe = min(_PIPE, int(_PIPE_LIMIT.read_text()))
        needed = 2 * self.resident // pipe + _SPARE_FILES
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if needed > allowed != resource.RLIM_INFINITY and not _may_raise_limits():
            return f"it would need {needed} open files, and {allowed} are allowed"
        return ""

    async def _in_place(self, writer: ArtifactWriter, phases: Phases) -> None:
        images = _images(writer)
        dump = self.criu.dump_in_place(self.container, self.root, images, self.work, seconds=self.seconds, started=self.started)
        async with AsyncExitStack() as stack:
            with phases.phase("dump"):
                await stack.enter_async_context(dump)
            with phases.phase("memory"):
                await self._harvest(images, writer, phases)
                await stack.aclose()

    async def _plain(self, writer: ArtifactWriter, phases: Phases) -> None:
        images = _images(writer)
        with phases.phase("plain"):
            await self.criu.dump(self.container, self.root, images, self.work, seconds=self.seconds, started=self.started)
        with phases.phase("memory"):
            await self._harvest(images, writer, phases)

    async def _harvest(self, images: Path, writer: ArtifactWriter, phases: Phases) -> None:
        members = processes.namespace_members(self.container.init)  # As they are now that they stand still.
        found = await interruptible(lambda stop: harvest(images, writer, members, progress=self.progress, stop=stop))
        phases.moved("memory", found.bulk)


async def _guarded(begin: Callable[[], ArtifactWriter], fill: Callable[[ArtifactWriter], Awaitable[None]]) -> ArtifactWriter:
    """An artifact that is filled, or abandoned."""
    writer = await asyncio.to_thread(begin)
    try:
        await fill(writer)
    except BaseException:
        await asyncio.to_thread(writer.abandon)
        raise
    return writer


def _images(writer: ArtifactWriter) -> Path:
    path = writer.staging / IMAGES
    path.mkdir(mode=0o700)
    return path


def _may_raise_limits() -> bool:
    """CRIU then raises its own limit on open files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_RESOURCE)
    return False
