"""The hooks for capture and restore: one call each, free for a tree without CUDA."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.cuda.detection import DEVICES, gpu_processes
from chrek_agent.cuda.driver import Bindings, Driver
from chrek_agent.cuda.hugepages import huge_pages
from chrek_agent.cuda.sequence import device_map, freeze, thaw, unfreeze
from chrek_agent.errors import ArtifactError, RestoreError

LOG: Final = logging.getLogger(__name__)
LOCK_SECONDS: Final = 60.0


def _wake(pids: Sequence[int]) -> None:
    for pid in pids:
        processes.send(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a restore needs to know of the GPU processes: PIDs in the container, and UUIDs in the driver's order."""

    pids: list[int]
    gpus: list[str]


NOTHING: Final = Frozen([], [])
FILE: Final = "gpus.json"
"""Among an artifact's images, if there is anything to know."""


def save(frozen: Frozen, path: Path) -> None:
    """Writes the file. Raises OSError."""
    if frozen.pids:
        path.write_text(json.dumps(asdict(frozen)))


def load(path: Path) -> Frozen:
    """Reads the file; without one there are no GPU processes.

    Raises:
        ArtifactError: It is not one of ours.
    """
    if not path.exists():
        return NOTHING
    try:
        content = json.loads(path.read_text())
        return Frozen([int(pid) for pid in content["pids"]], [str(uuid) for uuid in content["gpus"]])
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path.name} is damaged") from error


class Gpus:
    """The GPU side of captures and restores. The driver is opened at the first need and kept.

    Args:
        opened: Opens the driver.
        devices: What is there on a node with a GPU.
        huge: Whether the node may use huge pages while the driver moves memory to the host.
    """

    def __init__(self, opened: Callable[[], Driver] = Bindings, devices: Path = DEVICES, *, huge: bool = False) -> None:
        self._opened = opened
        self._huge = huge
        self._devices = devices
        self._driver: Driver | None = None

    @property
    def present(self) -> bool:
        """The node has NVIDIA's driver: only then can a worker use CUDA."""
        return self._devices.exists()

    @asynccontextmanager
    async def frozen_gpu(
        self, tree: Sequence[processes.Process], wake: Callable[[], None], turning: Callable[[Path], None]
    ) -> AsyncIterator[Frozen]:
        """GPU memory is in host memory while the block runs, to be dumped as any other; yields what a restore needs to know.

        However the block ends, the source is given its GPUs back. The driver does that through the processes themselves, so the
        tree must run again: `wake` is called for that, and only for a tree with CUDA. The block therefore lasts until all that
        belongs to one moment has been copied. `turning`: see huge_pages.

        Raises:
            CudaError: The driver refuses; everything is as before.
        """
        users = await asyncio.to_thread(self._users, tree)
        if not users:
            yield NOTHING
            return
        pids, driver = [process.pid for process in users], self._open()
        with huge_pages(turning) if self._huge else nullcontext():
            await asyncio.to_thread(freeze, driver, pids, lock_seconds=LOCK_SECONDS)
        try:
            yield Frozen([process.inner for process in users], await asyncio.to_thread(driver.gpus))
        finally:
            wake()
            await asyncio.shield(asyncio.to_thread(unfreeze, driver, pids))

    async def thaw_gpu(self, frozen: Frozen, tree: Sequence[processes.Process], here: Sequence[str] | None = None) -> None:
        """After CRIU, and once all memory is there: gives the restored tree its GPUs, and lets it use them.

        Its GPU processes are made to run (SIGCONT), because the driver works through them.

        Args:
            frozen: From the manifest.
            tree: The restored processes.
            here: UUIDs of the GPUs that the container may use; None for all of the node's.

        Raises:
            CudaError: The driver refuses; the tree must be ended.
            RestoreError: A GPU process is not there, or there are fewer GPUs than were captured.
        """
        if not frozen.pids:
            return
        by_inner = {process.inner: process.pid for process in tree}
        missing = [pid for pid in frozen.pids if pid not in by_inner]
        if missing:
            raise RestoreError(f"GPU process {missing[0]} of the captured worker is not there")
        driver = await asyncio.to_thread(self._open)
        pids = [by_inner[pid] for pid in frozen.pids]
        present = list(here) if here is not None else await asyncio.to_thread(driver.gpus)
        pairs = device_map(frozen.gpus, present)
        _wake(pids)
        await asyncio.to_thread(thaw, driver, pids, pairs)

    def _users(self, tree: Sequence[processes.Process]) -> list[processes.Process]:
        candidates = gpu_processes(tree) if self.present else []
        return [process for process in candidates if self._open().holds(process.pid)]

    def _open(self) -> Driver:
        if self._driver is None:
            self._driver = self._opened()
        return self._driver
