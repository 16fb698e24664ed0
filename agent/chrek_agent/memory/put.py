"""A tree restored from an artifact, stopped, with all of its memory: the fast way where it can be gone, else by CRIU alone."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import RestoreError
from chrek_agent.memory.crew import Crew, start_crew
from chrek_agent.memory.fill import FillError, fill
from chrek_agent.memory.pool import interruptible
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

    async def run(self, streams: Mapping[int, str], phases: Phases) -> None:
        """Restores the tree and leaves it stopped.

        Args:
            streams: See Criu.restore.
            phases: Gets `criu` and `fill`, and `plain` where the fast way failed.

        Raises:
            ArtifactError: What is stored is not what was captured.
            RestoreError: Anything else. In both cases the caller ends what is half restored.
        """
        self.step("criu")
        starting = asyncio.ensure_future(asyncio.to_thread(start_crew, self.artifact))
        try:
            with phases.phase("criu"):
                await self._restore(streams)
            if self.artifact.manifest.memory:
                await self._fill(streams, await starting, phases)
        finally:
            crew = await starting
            if crew is not None:
                # The worker need not wait for this.
                asyncio.get_running_loop().run_in_executor(None, crew.close)

    async def _fill(self, streams: Mapping[int, str], crew: Crew | None, phases: Phases) -> None:
        self.step("fill")
        try:
            with phases.phase("fill"):
                members = processes.namespace_members(self.container.init)
                filled = await interruptible(lambda stop: fill(self.artifact, self.images, members, crew=crew, stop=stop))
                phases.moved("fill", filled.length)
                LOG.debug("container %s: %s", self.container.name, filled)
        except FillError as error:
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

    async def _restore(self, streams: Mapping[int, str]) -> None:
        await self.criu.restore(self.container, self.images, self.work, streams, seconds=self.seconds, started=self.started)

    async def _wait_ended(self) -> None:
        """A number is free again only when its process has been reaped."""
        taken = set(self.artifact.manifest.source.pids)
        deadline = time.monotonic() + _END_SECONDS
        while any(process.inner in taken for process in processes.namespace_members(self.container.init)):
            if time.monotonic() > deadline:
                raise RestoreError("what was half restored does not end")
            await asyncio.sleep(0.01)
