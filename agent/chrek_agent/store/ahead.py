"""Packs that are not on this machine, read ahead of a restore in the order in which it wants their chunks.

Neighbours are asked for together: a request for each chunk would cost the server and us half as much again. What comes goes into a
fixed number of buffers, which bound the memory however large the artifact is, and is looked at there: nothing is copied.
"""

import ctypes
import mmap
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from weakref import finalize

from chrek_agent.store.backend import Backend, Wanted
from chrek_agent.store.cached import Through
from chrek_agent.store.pace import MOST, Pace

SPAN: Final = 8 << 20
"""Bytes of one request at most."""
GAP: Final = 256 << 10
"""So many bytes between two chunks are read along, though nobody wants them."""
SMALL: Final = 512 << 10
"""A chunk of so many bytes is asked for by itself when there is no buffer for its neighbours too."""
BUFFERS: Final = MOST
"""Of `SPAN` bytes each: 128 MiB."""
WAITING: Final = 3
"""Spans that are there, or are being read from, besides as many as are on their way: more would be memory touched for nothing."""

_Shared: Final = ctypes.c_char * SPAN


@dataclass(slots=True, eq=False)
class Span:
    """Neighbouring chunks of one object: what is read by one request. `left` is how often it will still be read from."""

    key: str
    start: int
    end: int
    left: int = 0
    offsets: list[int] = field(default_factory=list)
    used: int = 0
    loaded: Future[memoryview] | None = None


def plan(wanted: Iterable[Wanted]) -> list[Span]:
    """The spans that hold all of it, in the order of need. Pure."""
    needs: dict[str, dict[int, list[int]]] = {}
    for number, (key, offset, length) in enumerate(wanted):
        need = needs.setdefault(key, {}).setdefault(offset, [number, 0, 0])
        need[1], need[2] = max(need[1], length), need[2] + 1
    found: list[tuple[int, Span]] = []
    for key, pieces in needs.items():
        span: Span | None = None
        for offset, (number, length, times) in sorted(pieces.items()):
            if span is None or offset - span.end > GAP or offset + length - span.start > SPAN:
                span = Span(key, offset, offset)
                found.append((number, span))
            elif number < found[-1][0]:
                found[-1] = number, span
            span.end = max(span.end, offset + length)
            span.left += times
            span.offsets.append(offset)
    return [span for _, span in sorted(found, key=lambda each: each[0])]


class Ahead(Through):
    """Another backend, for one reader of an artifact, who says what he is going to read. Any thread may use it."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._spans: dict[tuple[str, int], Span] = {}
        self._queue: deque[Span] = deque()
        self._buffers = Buffers()
        self._active = self._clock = 0
        self._pace = Pace()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """Tells what will be read, in this order, each piece as often as it is named: it is fetched from now on."""
        spans = plan(wanted)
        with self._lock:
            self._queue.extend(spans)
            self._spans.update(((span.key, offset), span) for span in spans for offset in span.offsets)
            self._pump()

    def view(self, key: str, offset: int, into: memoryview) -> memoryview:
        """What has been fetched, or will be soon; all else from there."""
        found = self._take(key, offset, len(into))
        if found is None:
            return super().view(key, offset, into)
        loaded, start = found
        return loaded.result()[offset - start : offset - start + len(into)]

    def forget(self, key: str, offset: int, length: int) -> None:
        """What was read there was not right: from now on it is asked for by itself."""
        with self._lock:
            self._spans.pop((key, offset), None)

    def close(self) -> None:
        """Fetches nothing more; what is on its way is not waited for."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _take(self, key: str, offset: int, length: int) -> tuple[Future[memoryview], int] | None:
        """The span that it is in, which is there or on its way, and where that begins; None: it is better asked for by itself."""
        with self._lock:
            span = self._spans.get((key, offset))
            if span is None or span.left <= 0 or offset + length > span.end:
                return None
            span.left -= 1
            loaded = span.loaded or self._begin(span, evict=length < SMALL)
            if loaded is None:
                return None
            self._clock += 1
            span.used = self._clock
            span.loaded = loaded if span.left else None  # The last reader's view is the last that keeps the buffer.
            self._pump()
            return loaded, span.start

    def _pump(self) -> None:
        """Begins to fetch as much as should be on its way at once, unless enough waits to be read. The lock is held."""
        while self._queue and self._active < self._pace.parallel and self._buffers.used < self._pace.parallel + WAITING:
            span = self._queue[0]
            if span.loaded is None and span.left > 0 and self._begin(span, evict=False) is None:
                return
            self._queue.popleft()

    def _begin(self, span: Span, *, evict: bool) -> Future[memoryview] | None:
        """Fetches a span if there is a buffer for it. The lock is held."""
        buffer = None if self._closed else self._buffer(evict=evict)
        if buffer is None:
            return None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="ahead")
        span.loaded = Future()
        self._active += 1
        self._pool.submit(self._load, span, span.loaded, buffer[: span.end - span.start])
        return span.loaded

    def _load(self, span: Span, loaded: Future[memoryview], view: memoryview) -> None:
        try:
            loaded.set_result(view[: self.inner.read_into(span.key, span.start, view)])
        except BaseException as error:
            loaded.set_exception(error)
        finally:
            del loaded  # Else the error would keep it by way of this frame, and the buffer too.
            with self._lock:
                self._active -= 1
                self._pace.note(len(view), time.monotonic())
                self._pump()

    def _buffer(self, *, evict: bool) -> memoryview | None:
        """A free one, or that of a span which has not been read from for a long time. The lock is held."""
        buffer = self._buffers.take()
        if buffer is None and evict:
            idle = {id(span): span for span in self._spans.values() if span.loaded and span.loaded.done()}
            for span in sorted(idle.values(), key=lambda span: span.used):
                span.loaded = None
                buffer = self._buffers.take()
                if buffer is not None:
                    break
        return buffer


class Buffers:
    """Up to `BUFFERS` of them, used again and again: fresh memory for each request would cost as much as receiving it.

    One comes back when nobody has a view of it any more.
    """

    def __init__(self) -> None:
        self._free: deque[mmap.mmap] = deque()
        self._made = 0

    @property
    def used(self) -> int:
        """How many somebody has a view of."""
        return self._made - len(self._free)

    def take(self) -> memoryview | None:
        """One of `SPAN` bytes; None while all are used."""
        if not self._free:
            if self._made == BUFFERS:
                return None
            self._made += 1
            self._free.append(_memory())
        memory = self._free.pop()
        shared = _Shared.from_buffer(memory)
        finalize(shared, self._free.append, memory).atexit = False  # At any time, in any thread: hence no lock.
        return memoryview(shared).cast("B")


def _memory() -> mmap.mmap:
    memory = mmap.mmap(-1, SPAN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
