"""A tree restored from an artifact, stopped, with all of its memory: the fast way where it can be gone, else by CRIU alone."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.criu.lazy import LazyPages
from chrek_agent.criu.runner import Criu
from chrek_agent.criu.wire import ImageError
from chrek_agent.errors import RestoreError
from chrek_agent.memory.crew import Crew, crew_size, start_crew
from chrek_agent.memory.fill import FillError, fill, fill_late
from chrek_agent.memory.late import Late, Stretch, areas_of, late_stretches
from chrek_agent.memory.placement import near
from chrek_agent.memory.pool import interruptible
from chrek_agent.memory.userfault import is_supported
from chrek_agent.memory.whole import complete_images
from chrek_agent.store.artifact import Artifact
from chrek_agent.telemetry.timing import Phases

LOG: Final = logging.getLogger(__name__)
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Put:
    """One restore."""

    criu: Criu
    container: Container
    artifact: Artifact
    images: Path
    """The artifact's images, materialised; they are completed if need be."""
    work: Path
    """For CRIU's log."""
    seconds: float
    started: Callable[[int], None]
    step: Callable[[str], None]
    """Told of `criu` and `fill` before each begins."""
    end: Callable[[], None]
    """Ends what is half restored."""

    async def run(self, streams: Mapping[int, str], phases: Phases, *, late: Collection[int] = ()) -> "Rest | None":
        """Restores the tree and leaves it stopped.

        Args:
            streams: See Criu.restore.
            phases: Gets `criu` and `fill`, and `plain` where the fast way failed.
            late: PIDs, inside, of processes of which some memory may come when they run again.

        Returns:
            What is still to come, to be entered before any of them runs; None when all is there.

        Raises:
            ArtifactError: What is stored is not what was captured.
            RestoreError: Anything else. In both cases the caller ends what is half restored.
        """
        self.step("criu")
        processors = near(self.container.init)
        stretches = await asyncio.to_thread(self._stretches, late, processors)
        starting = asyncio.ensure_future(asyncio.to_thread(start_crew, self.artifact, stretches, processors=processors))
        stack = ExitStack()
        rest: Rest | None = None
        try:
            with phases.phase("criu"):
                handed = stack.enter_context(LazyPages(self.work)) if stretches else None
                await self._restore(streams, lazy=bool(stretches))
            if self.artifact.memory:
                crew = await starting
                try:
                    held = await asyncio.to_thread(self._hold, handed, crew) if handed else None
                    await self._fill(phases, crew, held)
                    rest = Rest(self, crew, held, stack) if crew and held else None
                except (FillError, ImageError, OSError) as error:
                    await self.again(streams, phases, crew, error)
        finally:
            crew = await starting
            if rest is None:
                stack.close()
                if crew is not None:
                    # The worker need not wait for this.
                    asyncio.get_running_loop().run_in_executor(None, crew.close)
        return rest

    def _stretches(self, late: Collection[int], processors: Collection[int]) -> list[Stretch]:
        if not late or self.artifact.is_remote or not crew_size(self.artifact, processors) or not is_supported():
            return []
        try:
            return late_stretches(self.artifact.memory, areas_of(self.images, late))
        except (ImageError, OSError) as error:
            LOG.warning("container %s: all memory comes before the worker runs: %s", self.container.name, error)
            return []

    def _hold(self, handed: LazyPages, crew: Crew | None) -> Late | None:
        """Lets everybody go but those who wait for what the crew brings late."""
        stretches = crew.stretches if crew else ()
        held = Late(stretches, self.artifact.memory, self.images, handed.settle())
        if stretches:
            return held
        held.close()
        return None

    async def _fill(self, phases: Phases, crew: Crew | None, late: Late | None) -> None:
        self.step("fill")
        with phases.phase("fill"):
            members = processes.namespace_members(self.container.init)
            filled = await interruptible(lambda stop: fill(self.artifact, self.images, members, crew=crew, late=late, stop=stop))
            phases.moved("fill", filled.length)
            LOG.debug("container %s: %s", self.container.name, filled)

    async def again(self, streams: Mapping[int, str], phases: Phases, crew: Crew | None, error: Exception) -> None:
        """Ends what is half restored and has CRIU restore all of it, stopped. Raises as `run`."""
        LOG.warning("container %s: memory is restored by CRIU, which takes longer: %s", self.container.name, error)
        if crew is not None:
            await asyncio.to_thread(crew.close)  # None of them may come upon the next tree.
        self.step("criu")
        with phases.phase("plain"):
            await self._again(streams)

    async def _again(self, streams: Mapping[int, str]) -> None:
        self.end()
        await self._wait_ended()
        try:
            await asyncio.to_thread(complete_images, self.artifact, self.images)
        except OSError as error:
            raise RestoreError(f"there is no room for the whole of the images: {error.strerror or error}") from error
        await self._restore(streams)

    async def _restore(self, streams: Mapping[int, str], *, lazy: bool = False) -> None:
        await self.criu.restore(
            self.container, self.images, self.work, streams, seconds=self.seconds, started=self.started, lazy=lazy
        )

    async def _wait_ended(self) -> None:
        """A number is free again only when its process has been reaped."""
        taken = set(self.artifact.manifest.source.pids)
        deadline = time.monotonic() + _END_SECONDS
        while any(process.inner in taken for process in processes.namespace_members(self.container.init)):
            if time.monotonic() > deadline:
                raise RestoreError("what was half restored does not end")
            await asyncio.sleep(0.01)


class Rest:
    """Memory that still comes while the block runs; at its end all is there.

    When it cannot come the tree is ended, so that nobody in the block waits for it, and that error is the one that counts.
    """

    def __init__(self, put: Put, crew: Crew, late: Late, stack: ExitStack) -> None:
        self._put = put
        self._crew = crew
        self._late = late
        self._stack = stack
        self.length = 0
        """Bytes of memory that came."""

    async def __aenter__(self) -> Self:
        self._coming = asyncio.ensure_future(self._come())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is not None and not self._coming.done():
                self._coming.cancel()
            with suppress(asyncio.CancelledError) if kind is not None else nullcontext():
                self.length = await self._coming
        finally:
            self._stack.close()
            asyncio.get_running_loop().run_in_executor(None, self._crew.close)

    async def _come(self) -> int:
        try:
            return await interruptible(lambda stop: fill_late(self._put.artifact, self._crew, self._late, stop=stop))
        except BaseException:
            self._put.end()
            raise
