"""Run as a program by chrek_agent.apart.loaders: makes memory on one GPU, hands it over by descriptors, and fills it.

The first line of standard input says what memory; the second one, which comes while the context is made, what is to be in it. The
answers go through standard output, a socket, as messages of their own. Whatever goes wrong is answered too, and the memory is gone
with the process, which ends with its input. It imports next to nothing, for a restore waits for it.
"""

import array
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from chrek_agent.apart.gpu import Gpu, GpuError, Slot

THREADS: Final = 16
PIECE: Final = 4 << 20
DEPTH: Final = 2
"""Slots of each thread: one is filled while the other one is copied from."""
_ZERO: Final = bytes(PIECE)
_SIGN: Final = 128
"""Pieces of one thread after which it says that it is at work."""

Part = tuple[int, int, int, int]
"""Of a piece: offset in it, length, number of the pack, offset in that."""
Say = Callable[..., None]


class Piece(NamedTuple):
    """What goes to one place at once: `parts` lie in files, in order; all else is zeros."""

    number: int
    offset: int
    length: int
    parts: Sequence[Part]


class Content:
    """What belongs into the memory: for each allocation its stretches and extents, both as [offset, length, ...] and in order."""

    def __init__(self, packs: Sequence[str], stretches: Sequence[list[list[int]]], extents: Sequence[list[list[int]]]) -> None:
        self._stretches, self._extents = stretches, extents
        self._files = [os.open(pack, os.O_RDONLY | os.O_CLOEXEC) for pack in packs]
        self.bytes = sum(length for listed in stretches for _, length in listed)

    def pieces(self, number: int) -> Iterator[Piece]:
        """Of one allocation."""
        extents, at = self._extents[number], 0
        for start, length in self._stretches[number]:
            for offset in range(start, start + length, PIECE):
                end = min(offset + PIECE, start + length)
                while at < len(extents) and extents[at][0] + extents[at][1] <= offset:
                    at += 1
                yield Piece(number, offset, end - offset, self._parts(extents, at, offset, end))

    def _parts(self, extents: list[list[int]], at: int, start: int, end: int) -> list[Part]:
        found = []
        while at < len(extents) and extents[at][0] < end:
            address, length, pack, position = extents[at]
            begin, stop = max(address, start), min(address + length, end)
            found.append((begin - start, stop - begin, pack, position + begin - address))
            at += 1
        return found

    def read(self, piece: Piece, into: memoryview) -> None:
        """A piece as it is to be, gaps and all. Raises OSError."""
        done = 0
        for offset, length, pack, position in piece.parts:
            into[done:offset] = _ZERO[: offset - done]
            _read(self._files[pack], into[offset : offset + length], position)
            done = offset + length
        into[done : piece.length] = _ZERO[: piece.length - done]


class Filling:
    """The memory of one GPU, made and filled."""

    def __init__(self, lengths: Sequence[int], say: Say) -> None:
        self.lengths = lengths
        self._say = say
        self._gpus: queue.SimpleQueue[Gpu] = queue.SimpleQueue()
        self._contents: queue.SimpleQueue[Content] = queue.SimpleQueue()
        self._handed: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._errors: list[BaseException] = []
        self._addresses: dict[int, int] = {}
        self._pieces: Iterator[Piece] = iter(())
        self._crew = [threading.Thread(target=self._run, daemon=True) for _ in range(min(THREADS, len(os.sched_getaffinity(0))))]
        for thread in self._crew:
            thread.start()

    def begin(self, gpu: Gpu) -> None:
        """Has the threads make ready for this GPU."""
        for _ in self._crew:
            self._gpus.put(gpu)

    def fill(self, gpu: Gpu, content: Content) -> None:
        """Does all of it, and hands the memory over on the way; raises the first error."""
        self._pieces = self._made(gpu, content)
        for _ in self._crew:
            self._contents.put(content)
        while (made := self._handed.get()) is not None:
            number, handle = made
            descriptor = gpu.export(handle)
            self._say([descriptor], handle=number)
            os.close(descriptor)
        for thread in self._crew:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _made(self, gpu: Gpu, content: Content) -> Iterator[Piece]:
        """All pieces, each once there is memory for it: the next memory is made while what there is is filled."""
        for number, length in enumerate(self.lengths):
            handle = gpu.create(length)
            self._addresses[number] = gpu.map(handle, length)
            self._handed.put((number, handle))
            yield from content.pieces(number)
        self._handed.put(None)

    def _take(self) -> Piece | None:
        with self._turn:
            return None if self._errors else next(self._pieces, None)

    def _run(self) -> None:
        try:
            slots = [Slot(PIECE) for _ in range(DEPTH)]
            gpu = self._gpus.get()
            gpu.enter()
            for slot in slots:
                slot.pin(gpu)
            self._work(gpu, self._contents.get(), slots)
        except BaseException as error:
            self._errors.append(error)
            self._handed.put(None)

    def _work(self, gpu: Gpu, content: Content, slots: Sequence[Slot]) -> None:
        count = 0
        while (piece := self._take()) is not None:
            slot = slots[count % DEPTH]
            count += 1
            gpu.wait(slot.stream)
            address = self._addresses[piece.number] + piece.offset
            if piece.parts:
                content.read(piece, slot.view)
                gpu.fill(address, slot.address, piece.length, slot.stream)
            else:
                gpu.clear(address, piece.length, slot.stream)
            if count % _SIGN == 0:
                self._say()
        for slot in slots:
            gpu.wait(slot.stream)


class Orders:
    """The lines of standard input, read at once: nobody is to wait for us with a pipe that is full."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> dict[str, Any]:
        """Waits for the next one. Raises EOFError when there is none: the restore has ended."""
        line = self._lines.get()
        if not line:
            raise EOFError
        found: dict[str, Any] = json.loads(line)
        return found

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            self._lines.put(line)
        self._lines.put(b"")


def main(library: Any = None) -> None:
    """Works, and answers; `library` stands in for the driver's in tests."""
    orders = Orders()
    with socket.socket(fileno=os.dup(sys.stdout.fileno())) as answers, suppress(EOFError, BrokenPipeError):

        def say(descriptors: Sequence[int] = (), **message: Any) -> None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            answers.sendmsg([json.dumps(message).encode()], rights)

        try:
            _load(orders, say, library)
        except (OSError, ValueError) as error:
            say(error=str(error))
        orders.next()


def _load(orders: Orders, say: Say, library: Any) -> None:
    moments, order = {"program": time.monotonic()}, orders.next()
    filling = Filling(order["lengths"], say)
    gpu = Gpu(order["gpu"], library)
    filling.begin(gpu)
    free, wanted = gpu.free(), sum(filling.lengths) + order["spare"]
    if free < wanted:
        raise GpuError(f"{free >> 20} MiB of the GPU's memory are free, and {wanted >> 20} MiB are needed with what the worker has")
    moments["context"] = time.monotonic()
    say(ready=True)
    content = Content(**orders.next())
    moments["told"] = time.monotonic()
    filling.fill(gpu, content)
    moments["loaded"] = time.monotonic()
    say(loaded=content.bytes, seconds={name: round(moment - order["began"], 3) for name, moment in moments.items()})


def _read(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise OSError("a pack is shorter than its index says")
        into, offset = into[count:], offset + count


if __name__ == "__main__":
    main()
    os._exit(0)  # Nothing is tidied: the kernel is faster at it.
