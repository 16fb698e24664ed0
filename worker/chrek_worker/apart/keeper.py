"""What this process keeps apart, and where it is at present."""

from __future__ import annotations

import importlib
import os
import threading
from pathlib import Path

from chrek_worker.apart.channel import SOCKET, ApartError
from chrek_worker.apart.host import HostMemory
from chrek_worker.apart.loading import load
from chrek_worker.apart.memory import Memory
from chrek_worker.apart.pool import Pools
from chrek_worker.apart.region import Region
from chrek_worker.apart.saving import save
from chrek_worker.apart.sign import Sign
from kubectl_chrek.api import names

_LOST = "what is apart came with a restore, and no agent asks for it: the driver could not bring this process back"


class Keeper:
    """All memories of this process, there or vacated."""

    def __init__(self) -> None:
        self.host = HostMemory()
        self._pools: Pools | None = None
        self._lock = threading.Lock()
        self._kept: dict[Memory, list[Region]] | None = None
        self._borrowed = Sign()
        self.present = threading.Event()
        self.present.set()

    def pools(self) -> Pools | None:
        """torch's; None where torch sees no GPU. Raises ImportError without torch, RuntimeError for one that is too old."""
        with self._lock:
            if self._pools is None:
                torch = importlib.import_module("torch")
                if not torch.cuda.is_available():
                    return None
                self._pools = Pools(torch)
            return self._pools

    def vacate(self) -> int:
        """See the package."""
        path = _socket()
        with self._lock:
            if self._kept is not None:
                return 0
            if not path.exists():
                if self._borrows():
                    raise ApartError(_LOST)
                return 0
            if self._pools is not None:
                self._pools.trim()
            memories = [memory for memory in self._memories() if memory.regions()]
            if not memories:
                return 0
            kept = save(str(path), memories)
            self._kept = kept
            self.present.clear()
            for memory in memories:
                for region in memory.regions():
                    memory.vacate(region)
            self._borrowed.show(self._borrows())
            return _size(kept)

    def occupy(self) -> int:
        """See the package."""
        with self._lock:
            if self._kept is None:
                return 0
            loaded = load(str(_socket()), self._kept)
            self._borrowed.show(self._borrows())
            self._kept = None
            self.present.set()
            return loaded

    def _borrows(self) -> bool:
        return any(memory.is_borrowed for memory in self._memories())

    def _memories(self) -> list[Memory]:
        pools = self._pools
        return [self.host, *(pools.memories.values() if pools is not None else ())]


KEEPER = Keeper()


def _size(kept: dict[Memory, list[Region]]) -> int:
    return sum(stretch.length for stretches in kept.values() for stretch in stretches)


def _socket() -> Path:
    """Where the agent listens, if it does."""
    signal_file = os.environ.get(names.ENV_SIGNAL_FILE)
    return Path(signal_file).parent / SOCKET if signal_file else Path(names.CONTROL_DIR, SOCKET)
