"""Small pieces of packs that are not on this machine, read together with their neighbours.

A worker has many short stretches of memory, whose chunks are small and lie side by side: asked for one by one, most of the time
would go into requests.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Final

from chrek_agent.store.backend import Backend
from chrek_agent.store.cached import Through
from chrek_agent.store.index import PACK_END

BLOCK: Final = 2 << 20
SMALL: Final = 512 << 10
"""Reads of so many bytes, or more, go by themselves."""
KEPT: Final = 16
"""Blocks: 32 MiB."""


class Blocks(Through):
    """Another backend, for one reader of an artifact. Threads that want the same block wait for one request."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()

    def read(self, key: str, offset: int, length: int) -> bytes:
        """A part of a block where that is worth it."""
        start = offset - offset % BLOCK
        if length >= SMALL or offset + length > start + BLOCK or not key.endswith(PACK_END):
            return self.inner.read(key, offset, length)
        return self._block(key, start)[offset - start : offset - start + length]

    def forget(self, key: str, offset: int) -> None:
        """What was read there was not right."""
        with self._lock:
            self._found.pop((key, offset - offset % BLOCK), None)

    def _block(self, key: str, start: int) -> bytes:
        with self._lock:
            found = self._found.get((key, start))
            first = found is None
            if found is None:
                found = self._found[key, start] = Future()
                while len(self._found) > KEPT:
                    self._found.popitem(last=False)
            else:
                self._found.move_to_end((key, start))
        if first:
            try:
                found.set_result(self.inner.read(key, start, BLOCK))
            except BaseException as error:
                self.forget(key, start)
                found.set_exception(error)
        return found.result()
