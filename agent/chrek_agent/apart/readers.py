"""Processes that read and verify what a loader copies: threads would hold each other up by their interpreter's lock.

They are forked off before the loader has a thread or a context, which takes a millisecond each, and end with it. Each reads pieces
into slots of its own, in memory that all share; the loader says which, and hears when one is there.
"""

import ctypes
import json
import mmap
import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NoReturn

from chrek_agent.apart.content import PIECE, Content, Piece

MOST: Final = 16
DEPTH: Final = 3
"""Slots of each reader: two to read into, while a third one is copied from."""
PINNED: Final = DEPTH
"""In place of a slot: all of a reader's can be copied from."""
_NICE: Final = 5
"""They take what CRIU and the driver leave, for the worker cannot begin before those are done."""
_LOOK_MS: Final = 200
_WANTED: Final = struct.Struct("ii")
"""A slot of the reader's, and the number of the piece."""
_DONE: Final = struct.Struct("ii120s")
"""A reader, its slot, and why it has failed, if it has."""
_TOLD: Final = _WANTED.pack(-1, -1)
_LIBC: Final = ctypes.CDLL(None)
_SET_DEATH_SIGNAL: Final = 1
_POPULATE_WRITE: Final = 23


class Readers:
    """All of them; to be made while this process has one thread."""

    def __init__(self) -> None:
        self.count = min(MOST, len(os.sched_getaffinity(0)))
        self.memory = mmap.mmap(-1, self.count * DEPTH * PIECE)
        self._order = os.memfd_create("chrek-order", os.MFD_CLOEXEC)
        self._done, self._says = os.pipe()
        self._tells: list[int] = []
        self._heard = b""
        loader = os.getpid()
        for number in range(self.count):
            hears, tells = os.pipe()
            if not os.fork():
                self._serve(number, hears, loader)
            os.close(hears)
            self._tells.append(tells)

    def place(self, reader: int, slot: int) -> int:
        """Where a slot is in the memory."""
        return (reader * DEPTH + slot) * PIECE

    def tell(self, order: bytes) -> None:
        """What they read from: the JSON of a Content."""
        while order:
            order = order[os.write(self._order, order) :]
        for tells in self._tells:
            os.write(tells, _TOLD)

    def read(self, reader: int, slot: int, piece: int) -> None:
        """Has a piece, by its number among those with content, read into a slot. Raises OSError."""
        os.write(self._tells[reader], _WANTED.pack(slot, piece))

    def note(self, reader: int, slot: int, trouble: str = "") -> None:
        """Has `done` yield this, or raise it as an OSError; from any thread."""
        os.write(self._says, _DONE.pack(reader, slot, trouble.encode()[:120]))

    def done(self) -> Iterator[tuple[int, int]]:
        """Waits until some have been read, or noted: reader and slot of each.

        Raises:
            OSError: One could not be read, or is not what was captured; or a reader has died.
        """
        waiting = select.poll()
        waiting.register(self._done, select.POLLIN)
        while not waiting.poll(_LOOK_MS):
            if os.waitpid(-1, os.WNOHANG)[0]:
                raise OSError("a reader has died")
        self._heard += os.read(self._done, _DONE.size * 64)
        while len(self._heard) >= _DONE.size:
            reader, slot, trouble = _DONE.unpack_from(self._heard)
            self._heard = self._heard[_DONE.size :]
            if trouble[0]:
                raise OSError(trouble.rstrip(b"\0").decode(errors="replace"))
            yield reader, slot

    def end(self) -> None:
        """They have nothing more to do."""
        while self._tells:
            os.close(self._tells.pop())

    def _serve(self, number: int, hears: int, loader: int) -> NoReturn:
        """One of them, in its own process."""
        try:
            _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            for tells in self._tells:
                os.close(tells)
            if os.getppid() == loader:
                self._work(number, hears)
        except (OSError, ValueError) as error:
            with suppress(OSError):
                self.note(number, 0, str(error) or "it has failed")
        finally:
            os._exit(0)

    def _work(self, number: int, hears: int) -> None:
        os.nice(_NICE)
        with suppress(OSError):  # Where there is no such thing it takes longer.
            self.memory.madvise(_POPULATE_WRITE, self.place(number, 0), DEPTH * PIECE)
        pieces: list[Piece] = []
        view = memoryview(self.memory)
        while wanted := os.read(hears, _WANTED.size):
            slot, piece = _WANTED.unpack(wanted)
            if slot < 0:
                # The loader has been told by now where to run.
                os.sched_setaffinity(0, os.sched_getaffinity(os.getppid()))
                content = Content(**json.loads(os.pread(self._order, os.fstat(self._order).st_size, 0)))
                pieces = [one for one in content.pieces() if one.parts]
                continue
            start = self.place(number, slot)
            content.read(pieces[piece], view[start : start + PIECE])
            self.note(number, slot)
