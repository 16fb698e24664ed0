"""What this node's hardware can do at best: the rates that captures and restores are compared with.

Copies and digests are measured at the agent's first start, in less than 0.3 s of processor time, and kept in a file. The store is
not measured: that would be reading for its own sake. Of it the fastest read that there really was is kept.
"""

import ctypes
import json
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

LOG: Final = logging.getLogger(__name__)
COPY: Final = "copyBytesPerSecond"
HASH: Final = "hashBytesPerSecond"
READ: Final = "storeReadBytesPerSecond"
READS: Final = ("verify", "skeleton", "fill")
"""The phases that read the store."""

_THREADS: Final = 16
_BUFFER: Final = 8 << 20
_PASSES: Final = 2
OLD_SECONDS: Final = 86400.0
"""Rates that nothing has been added to for longer are measured again at the agent's next start."""
_LEAST: Final = 16 << 20
"""A read of less says nothing of a rate."""

Buffers = tuple[mmap.mmap, mmap.mmap]


class Ceilings:
    """One node's, kept in a file of the agent's state; None: nowhere. Any thread may use it."""

    def __init__(self, state: Path | None = None) -> None:
        self._file = None if state is None else state / "ceilings.json"
        self._lock = threading.Lock()
        self._rates: dict[str, int] = {}
        self._threads = min(len(os.sched_getaffinity(0)), _THREADS)

    def prepare(self) -> None:
        """Reads what is known of this machine, and measures what is not; blocks for some hundredths of a second."""
        known = self._load()
        if COPY not in known or HASH not in known or self._is_old():
            # The larger counts: the machine may have been busy with other things the last time, or is now.
            known |= {name: max(rate, known.get(name, 0)) for name, rate in measure(self._threads).items()}
        with self._lock:
            self._rates = known | self._rates
        self._save()

    def read(self, count: int, seconds: float) -> None:
        """Notes that so many bytes were read from the store; the fastest counts."""
        if count < _LEAST or seconds <= 0:
            return
        rate = int(count / seconds)
        with self._lock:
            if rate <= self._rates.get(READ, 0):
                return
            self._rates[READ] = rate
        self._save()

    def phases(self, phases: Mapping[str, float], moved: Mapping[str, int]) -> None:
        """Notes what a capture or a restore has read."""
        for name in READS:
            self.read(moved.get(name, 0), phases.get(name, 0.0))

    def status(self) -> dict[str, int | None]:
        """As `status.ceilings` of a ChrekNode; None: not known."""
        with self._lock:
            return {name: self._rates.get(name) for name in (COPY, HASH, READ)}

    def _load(self) -> dict[str, int]:
        """What the file says, unless it is another machine's."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            found: dict[str, Any] = json.loads(self._file.read_text()) if self._file else {}
            if found.get("threads") == self._threads:
                return {name: int(found[name]) for name in (COPY, HASH, READ) if found.get(name)}
        return {}

    def _is_old(self) -> bool:
        with suppress(OSError):
            return self._file is not None and time.time() - self._file.stat().st_mtime > OLD_SECONDS
        return True

    def _save(self) -> None:
        if self._file is None:
            return
        aside = self._file.with_suffix(".new")
        with self._lock:
            try:
                aside.write_text(json.dumps(self._rates | {"threads": self._threads}))
                aside.rename(self._file)
            except OSError as error:  # They are measured again by the next agent.
                LOG.debug("%s was not written: %s", self._file, error.strerror or error)


def measure(threads: int) -> dict[str, int]:
    """Copies memory and hashes it with so many threads at once; bytes a second of both, by their names in the status."""
    buffers = [_buffers() for _ in range(threads)]
    try:
        with ThreadPoolExecutor(threads) as pool:
            return {COPY: _best(pool, _copy, buffers), HASH: _best(pool, _hash, buffers)}
    finally:
        for pair in buffers:
            for each in pair:
                each.close()


def _best(pool: ThreadPoolExecutor, work: Callable[[Buffers], None], buffers: list[Buffers]) -> int:
    """The faster of two passes: the first one finds the processors asleep."""
    seconds = []
    for _ in range(_PASSES):
        begin = time.perf_counter()
        list(pool.map(work, buffers))
        seconds.append(time.perf_counter() - begin)
    return int(_BUFFER * len(buffers) / min(seconds))


def _buffers() -> Buffers:
    """Written to, so that their pages are there, and are not all the same one of zeros."""
    pair = mmap.mmap(-1, _BUFFER), mmap.mmap(-1, _BUFFER)
    for each in pair:
        each.write(b"\xa5" * _BUFFER)
    return pair


def _copy(pair: Buffers) -> None:
    # By ctypes, which lets other threads run meanwhile; a slice's assignment would not.
    source, target = ((ctypes.c_char * _BUFFER).from_buffer(each) for each in pair)
    ctypes.memmove(target, source, _BUFFER)


def _hash(pair: Buffers) -> None:
    blake3(pair[0]).digest()
