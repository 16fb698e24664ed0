"""The hooks for capture and restore: one call each, free for a tree without CUDA."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.cuda.detection import DEVICES, gpu_processes, shares_copies
from chrek_agent.cuda.driver import Bindings, Driver
from chrek_agent.cuda.hugepages import huge_pages
from chrek_agent.cuda.placing import device_map
from chrek_agent.cuda.refusals import refuse_gpus
from chrek_agent.cuda.sequence import Seconds, Told, freeze, thaw, unfreeze
from chrek_agent.errors import ArtifactError, RestoreError
from chrek_agent.node.gpus import node_gpus, visible_gpus
from kubectl_chrek.api.compatibility import Gpu

LOG: Final = logging.getLogger(__name__)
LOCK_SECONDS: Final = 60.0


def _wake(pids: Sequence[int]) -> None:
    for pid in pids:
        processes.send(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a restore needs to know of the GPU processes: PIDs in the container, and its GPUs by minor number."""

    pids: list[int]
    gpus: list[Gpu]
    seconds: Seconds = field(default_factory=dict)
    """What the driver took to move the memory of each process, by PID in the container."""
    shared: bool = False
    """In all of them the driver's copies are shared out to several threads (worker/native)."""


NOTHING: Final = Frozen([], [])
FILE: Final = "gpus.json"
"""Among an artifact's images, if there is anything to know."""


def save(frozen: Frozen, path: Path) -> None:
    """Writes the file. Raises OSError."""
    if frozen.pids:
        gpus = [gpu.model_dump(mode="json", by_alias=True) for gpu in frozen.gpus]
        path.write_text(json.dumps({"pids": frozen.pids, "gpus": gpus, "seconds": frozen.seconds, "shared": frozen.shared}))


def load(path: Path) -> Frozen:
    """Reads the file; without one there are no GPU processes.

    Raises:
        ArtifactError: It is not one of ours.
    """
    return parse(path.read_bytes() if path.exists() else None)


def parse(said: bytes | None) -> Frozen:
    """What the file holds; None where there is none. Raises ArtifactError."""
    if said is None:
        return NOTHING
    try:
        content = json.loads(said)
        gpus = [Gpu(uuid=gpu) if isinstance(gpu, str) else Gpu.model_validate(gpu) for gpu in content["gpus"]]
        seconds = {int(pid): float(value) for pid, value in content.get("seconds", {}).items()}
        return Frozen([int(pid) for pid in content["pids"]], gpus, seconds, content.get("shared") is True)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{FILE} is damaged") from error


class Gpus:
    """The GPU side of captures and restores. The driver is opened at the first need and kept.

    Args:
        opened: Opens the driver.
        devices: What is there on a node with a GPU.
        huge: Whether the node may use huge pages while the driver moves memory to the host.
        listed: The node's GPUs, by minor number.
    """

    def __init__(
        self,
        opened: Callable[[], Driver] = Bindings,
        devices: Path = DEVICES,
        *,
        huge: bool = False,
        listed: Callable[[], Mapping[int, Gpu]] = lambda: node_gpus()[0],
    ) -> None:
        self._opened = opened
        self._listed = listed
        self._huge = huge
        self._devices = devices
        self._driver: Driver | None = None

    @property
    def present(self) -> bool:
        """The node has NVIDIA's driver: only then can a worker use CUDA."""
        return self._devices.exists()

    @asynccontextmanager
    async def frozen_gpu(
        self,
        tree: Sequence[processes.Process],
        wake: Callable[[], None],
        turning: Callable[[Path], None],
        told: Told = lambda *_: None,
    ) -> AsyncIterator[Frozen]:
        """GPU memory is in host memory while the block runs, to be dumped as any other; yields what a restore needs to know.

        However the block ends, the source is given its GPUs back. The driver does that through the processes themselves, so the
        tree must run again: `wake` is called for that, and only for a tree with CUDA. The block therefore lasts until all that
        belongs to one moment has been copied. `turning`: see huge_pages; `told`: see freeze.

        Raises:
            CaptureError: It could be captured, but never restored; nothing was touched.
            CudaError: The driver refuses; everything is as before.
        """
        users = await asyncio.to_thread(self._users, tree)
        if not users:
            yield NOTHING
            return
        pids, driver = [process.pid for process in users], self._open()
        await asyncio.to_thread(refuse_gpus, users, tree, driver)
        with huge_pages(turning) if self._huge else nullcontext():
            seconds = await asyncio.to_thread(freeze, driver, pids, lock_seconds=LOCK_SECONDS, told=told)
        try:
            by_inner = {process.inner: seconds[process.pid] for process in users}
            LOG.info("GPU memory is on the host; seconds by process: %s", by_inner)
            shared = all(shares_copies(pid) for pid in pids)
            yield Frozen(list(by_inner), await asyncio.to_thread(self._gpus, users[0].pid), by_inner, shared)
        finally:
            wake()
            await asyncio.shield(asyncio.to_thread(unfreeze, driver, pids))

    async def thaw_gpu(self, frozen: Frozen, tree: Sequence[processes.Process]) -> Seconds:
        """After CRIU, and once all memory is there: gives the restored tree its GPUs, and lets it use them.

        Its GPU processes are made to run (SIGCONT), because the driver works through them.

        Args:
            frozen: From the artifact.
            tree: The restored processes.

        Returns:
            What the driver took for each GPU process, by PID in the container.

        Raises:
            CudaError: The driver refuses; the tree must be ended.
            RestoreError: A GPU process is not there, or the GPUs here are not like those of the capture.
        """
        if not frozen.pids:
            return {}
        by_inner = {process.inner: process for process in tree}
        missing = [pid for pid in frozen.pids if pid not in by_inner]
        if missing:
            raise RestoreError(f"GPU process {missing[0]} of the captured worker is not there")
        driver = await asyncio.to_thread(self._open)
        users = [by_inner[pid] for pid in frozen.pids]
        pairs = device_map(frozen.gpus, await asyncio.to_thread(self._gpus, users[0].pid))
        _wake([process.pid for process in users])
        taken = await asyncio.to_thread(thaw, driver, [process.pid for process in users], pairs)
        seconds = {process.inner: taken[process.pid] for process in users}
        LOG.info("GPU memory is back; seconds by process: %s", seconds)
        return seconds

    def place(self, frozen: Frozen, pid: int) -> dict[str, str]:
        """UUID at the capture -> UUID here of all its GPUs, as `thaw_gpu` will have it; blocks.

        Args:
            frozen: From the artifact.
            pid: A process that sees what the worker will see, such as its container's first.

        Raises:
            CudaError: The driver cannot be asked.
            RestoreError: The GPUs here are not like those of the capture.
        """
        return device_map(frozen.gpus, self._gpus(pid)) or {gpu.uuid: gpu.uuid for gpu in frozen.gpus}

    def _gpus(self, pid: int) -> list[Gpu]:
        """The GPUs that a process sees; where the node does not tell, all that the driver knows."""
        found = visible_gpus(pid, self._listed())
        return found if found and all(gpu.uuid for gpu in found) else [Gpu(uuid=uuid) for uuid in self._open().gpus()]

    def _users(self, tree: Sequence[processes.Process]) -> list[processes.Process]:
        candidates = gpu_processes(tree) if self.present else []
        return [process for process in candidates if self._open().holds(process.pid)]

    def _open(self) -> Driver:
        if self._driver is None:
            self._driver = self._opened()
        return self._driver
