"""Before a capture: what a worker keeps apart is taken from it, piece by piece, into the store.

A piece is copied out of the worker's slot before it is looked at: what the worker changes meanwhile must not become a chunk under
another's digest.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chrek_agent.apart.allocations import FILE, Allocation, dump, ranges, told
from chrek_agent.apart.channel import ApartError, Peer, number
from chrek_agent.apart.slot import Call, Slot, converse
from chrek_agent.errors import CaptureError
from chrek_agent.store.buffers import BufferPool
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import APART
from chrek_agent.store.writer import ArtifactWriter, RunWriter

OWNERS: Final = 256


class _Part:
    """One stretch of one process's memory, on its way."""

    def __init__(self, length: int, run: RunWriter) -> None:
        self.length = length
        self.run = run
        self.left = length


class Saving:
    """What one capture's worker keeps apart.

    Args:
        begin: Begins what takes it; called when there is something.
        limit: The most bytes that there can be.
    """

    def __init__(self, begin: Callable[[], ArtifactWriter], limit: int) -> None:
        self._begin = begin
        self._limit = limit
        self._lock = threading.Lock()
        self._buffers = BufferPool()
        self._parts: dict[int, dict[int, _Part]] = {}
        self._allocations: dict[int, list[Allocation]] = {}
        self._finished: set[int] = set()
        self._began = self._ended = 0.0
        self.writer: ArtifactWriter | None = None

    @property
    def bytes(self) -> int:
        """What has been kept so far, by workers that are done."""
        return sum(part.length for owner in self._finished for part in self._parts[owner].values())

    @property
    def seconds(self) -> float:
        """From the first word to the last."""
        return max(0.0, self._ended - self._began)

    def serve(self, peer: Peer) -> None:
        """One connection, until it ends."""
        calls: dict[str, Call] = {
            "keep": lambda message, _: self._keep(peer.owner, message),
            "save": lambda message, slot: self._save(peer.owner, message, Slot(slot)),
            "kept": lambda *_: self._kept(peer.owner),
        }
        converse(peer, calls, acknowledge=True)

    def check(self, told: object) -> None:
        """Raises CaptureError unless what the worker has given up is what we have."""
        if (told or 0) != self.bytes or self._finished != self._parts.keys():
            raise CaptureError(f"the worker has given up {told} bytes of its memory, and {self.bytes} of them are here")

    def describe(self, directory: Path) -> None:
        """Writes what a restore should know of it beside what else becomes part of the artifact. Raises OSError."""
        if any(self._allocations.values()):
            (directory / FILE).write_bytes(dump(self._allocations))

    def abandon(self) -> None:
        """Leaves nothing in the store; does nothing once it has been committed."""
        if self.writer is not None:
            with suppress(OSError):
                self.writer.abandon()

    def _keep(self, owner: int, message: dict[str, Any]) -> None:
        regions = ranges(message.get("regions"))
        allocations = told(message, regions)
        with self._lock:
            if owner in self._parts or len(self._parts) >= OWNERS:
                raise ApartError("this has been said already")
            held = sum(part.length for parts in self._parts.values() for part in parts.values())
            made = sum(one.length for one in [*allocations, *(one for found in self._allocations.values() for one in found)])
            if max(made, held + sum(length for _, length in regions)) > self._limit:
                raise ApartError(f"more than {self._limit} bytes are not kept apart")
            self._began = self._began or time.monotonic()
            if self.writer is None:
                self.writer = self._begin()
            self._allocations[owner] = allocations
            self._parts[owner] = {start: _Part(length, self.writer.add_run(APART, owner, start)) for start, length in regions}

    def _save(self, owner: int, message: dict[str, Any], slot: Slot) -> None:
        start, offset, length = (number(message, name) for name in ("start", "offset", "length"))
        part = self._parts.get(owner, {}).get(start)
        if part is None or owner in self._finished or not 0 < length <= slot.size or offset + length > part.length:
            raise ApartError("the piece is of nothing that is kept")
        if offset % CHUNK or (length % CHUNK and offset + length != part.length):
            raise ApartError("the piece has edges within a chunk")
        buffer = self._buffers.take()
        try:
            for at in range(0, length, CHUNK):
                piece = buffer.view[: min(CHUNK, length - at)]
                if os.preadv(slot.descriptor, [piece], at) != len(piece):
                    raise ApartError("the slot is shorter than it was")
                part.run.write(piece, offset + at)
        except ValueError as error:
            raise ApartError("the piece is here already") from error
        finally:
            buffer.release()
        with self._lock:
            part.left -= length

    def _kept(self, owner: int) -> None:
        with self._lock:
            parts = self._parts.get(owner)
            if parts is None or any(part.left for part in parts.values()):
                raise ApartError("pieces are missing")
            if owner not in self._finished:
                for part in parts.values():
                    part.run.close()
                self._finished.add(owner)
                self._ended = time.monotonic()
