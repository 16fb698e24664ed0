"""GPU memory apart that the agent loads beside the restore, and hands to the worker as it is.

A worker can load only once CRIU and the driver are done with it. Processes of the agent's, one for each GPU, make memory like its
own and load it meanwhile; the worker then maps that at its addresses. Whatever stands in the way, the worker loads by itself.
"""

import logging
import resource
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from chrek_agent.apart import allocations as recorded
from chrek_agent.apart.allocations import Allocation
from chrek_agent.apart.layout import Chunked
from chrek_agent.apart.loaders import ALONE, Loader
from chrek_agent.apart.shares import Key, Share, shares, spare
from chrek_agent.container.discovery import Container
from chrek_agent.cuda import frozen as cuda
from chrek_agent.memory.placement import near
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.model import IMAGES

LOG: Final = logging.getLogger(__name__)
LEAST: Final = 512 << 20
"""Bytes of GPU memory for which it is worth while: a context takes as long as loading several times that."""
_MOST: Final = 4096
"""Handles at once; and never more than a quarter of the files that we may have open."""

Place = Callable[[cuda.Frozen, int], Mapping[str, str]]
"""As `cuda.Gpus.place`."""


@dataclass(frozen=True, slots=True)
class Handle:
    """Loaded memory."""

    allocation: Allocation
    _loader: Loader
    _number: int

    def descriptor(self) -> int:
        """By which whoever has it can map the memory; the caller's. Raises ApartError when it is too late."""
        return self._loader.descriptor(self._number)


class Beside:
    """Loads for one restore. Nothing of it raises: what is not loaded is missing from `handles`, and a line in the log says why.

    Args:
        artifact: Open, for longer than this.
        container: The worker's new one.
        place: Says which GPU is which here.
    """

    def __init__(self, artifact: Artifact, container: Container, place: Place) -> None:
        self._artifact = artifact
        self._container = container
        self._place = place
        self._lock = threading.Lock()
        self._closed = False
        self._running: list[tuple[Share, Loader]] = []
        self._given: list[tuple[Loader, set[Key]]] = []
        self._begun = threading.Event()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._begin, name="apart-begin", daemon=True)

    def start(self) -> bool:
        """Has it begin, at once; False, and nothing, for an artifact without the places of its memory, and for a remote one."""
        begins = recorded.FILE in self._artifact.manifest.files and not self._artifact.is_remote
        if begins:
            self._thread.start()
        else:
            self._begun.set()
            self._told.set()
        return begins

    def tell(self, chunked: Mapping[int, Chunked]) -> set[Key]:
        """Says what belongs into the memory, all of it, by process; returns what is being loaded, and verified on the way."""
        self._begun.wait()
        try:
            for share, loader in self._running:
                told = share.content(chunked)
                if told is None:
                    loader.give_up("not all of it lies in files of this node as it is")
                else:
                    content, keys = told
                    loader.fill(content)
                    self._given.append((loader, keys))
        finally:
            self._told.set()
        return {key for _, keys in self._given for key in keys}

    def lost(self) -> set[Key]:
        """Waits for the end of all loading: what has not been loaded after all, and not verified."""
        found: set[Key] = set()
        for loader, keys in self._given:
            loader.over.wait()
            found |= set() if loader.has_loaded else keys
        return found

    def handles(self, owner: int) -> list[Handle]:
        """Waits until all is loaded, or has failed: what there is for a process, its PID inside."""
        self._told.wait()
        found = []
        for share, loader in self._running:
            for number in loader.handles():
                process, allocation = share.allocations[number]
                found += [Handle(allocation, loader, number)] if process == owner else []
        return found

    def give_up(self, reason: str) -> None:
        """Nobody is going to take any: the GPUs' memory is free again when this returns. Without a reason the log says none."""
        for _, loader in self._running:
            loader.give_up(reason)

    def spend(self) -> None:
        """All have what they need."""
        for _, loader in self._running:
            loader.spend()

    def close(self) -> None:
        """No process of ours is left, whatever they were at."""
        with self._lock:
            self._closed = True
        if self._thread.ident is not None:
            self._thread.join()
        self._told.set()
        for _, loader in self._running:
            loader.close()

    def _begin(self) -> None:
        try:
            self._start()
        except Exception as error:
            LOG.warning("container %s: %s: %s", self._container.name, ALONE, error)
            self.give_up("")
        finally:
            self._begun.set()

    def _start(self) -> None:
        allocations = recorded.load(self._artifact)
        if sum(one.length for found in allocations.values() for one in found) < LEAST:
            return
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        for share in shares(allocations, min(_MOST, soft // 4)):
            self._add(share)
        # While they start it is found out where.
        frozen = cuda.parse(self._artifact.content(f"{IMAGES}/{cuda.FILE}"))
        here = self._place(frozen, self._container.init)
        for share, loader in self._running:
            if share.gpu not in here:
                loader.give_up(f"{share.gpu} is not among the GPUs that the capture has noted")
                continue
            loader.begin(
                {
                    "gpu": here[share.gpu],
                    "lengths": [one.length for _, one in share.allocations],
                    "spare": spare(share, allocations, frozen.pids, self._artifact.memory),
                }
            )

    def _add(self, share: Share) -> None:
        with self._lock:
            if not self._closed:
                name = f"container {self._container.name}"
                self._running.append((share, Loader(name, len(share.allocations), near(self._container.init))))
