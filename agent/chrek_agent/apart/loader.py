"""Run as a program by chrek_agent.apart.loaders: makes memory on one GPU, hands it over by descriptors, and fills it.

The first line of standard input says what memory; the second one, which comes while the context is made, what is to be in it. The
answers go through standard output, a socket, as messages of their own. Whatever goes wrong is answered too, and the memory is gone
with the process, which ends with its input. It imports next to nothing, for a restore waits for it.
"""

import array
import ctypes
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from chrek_agent.apart.content import PIECE, Content, Piece
from chrek_agent.apart.gpu import Gpu, GpuError
from chrek_agent.apart.readers import DEPTH, PINNED, Readers

_SIGN: Final = 512
"""Pieces after which it says that it is at work."""
Say = Callable[..., None]


class Slots:
    """The readers' memory, to copy from at full speed, each slot by a stream of its own; PINNED is noted of each reader in turn."""

    def __init__(self, gpu: Gpu, readers: Readers) -> None:
        self._gpu = gpu
        self._readers = readers
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(readers.memory))
        self._streams: dict[tuple[int, int], int] = {}
        threading.Thread(target=self._pin, daemon=True).start()

    def _pin(self) -> None:
        try:
            self._gpu.enter()
            for reader in range(self._readers.count):
                self._gpu.register(self._base + self._readers.place(reader, 0), DEPTH * PIECE)
                for slot in range(DEPTH):
                    self._streams[reader, slot] = self._gpu.stream()
                self._readers.note(reader, PINNED)
        except OSError as error:
            self._readers.note(0, 0, str(error) or "memory cannot be pinned")

    def copy(self, reader: int, slot: int, address: int, length: int) -> None:
        """Begins to copy a slot to the GPU."""
        self._gpu.fill(address, self._base + self._readers.place(reader, slot), length, self._streams[reader, slot])

    def wait(self, reader: int, slot: int) -> None:
        """Until a slot has been copied."""
        self._gpu.wait(self._streams[reader, slot])

    def clear(self, address: int, length: int) -> None:
        """Begins to fill with zeros."""
        self._gpu.clear(address, length, 0)

    def finish(self) -> None:
        """Until all is done."""
        self._gpu.finish()


class Memory:
    """One GPU's new memory, made and handed over in order by a thread of its own, while what there is is filled."""

    def __init__(self, gpu: Gpu, lengths: Sequence[int], say: Say) -> None:
        self._gpu = gpu
        self._lengths = lengths
        self._say = say
        self._made: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self._addresses: list[int] = []
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()

    def address(self, number: int) -> int:
        """Where it is, once it is there. Raises what has failed."""
        while len(self._addresses) <= number:
            made = self._made.get()
            if isinstance(made, BaseException):
                raise made
            self._addresses.append(made)
        return self._addresses[number]

    def finish(self) -> None:
        """Until all is handed over. Raises what has failed."""
        self.address(len(self._lengths) - 1)
        self._thread.join()

    def _make(self) -> None:
        try:
            self._gpu.enter()
            for number, length in enumerate(self._lengths):
                handle = self._gpu.create(length)
                address = self._gpu.map(handle, length)
                descriptor = self._gpu.export(handle)
                self._say([descriptor], handle=number)
                os.close(descriptor)
                self._made.put(address)
        except BaseException as error:
            self._made.put(error)


def fill(memory: Memory, content: Content, readers: Readers, slots: Slots, say: Say) -> None:
    """Does all of it; raises what fails first."""
    numbers = enumerate(_to_read(memory, content, slots))
    reading, copied = dict[tuple[int, int], Piece](), dict[int, int]()
    count, missing = 0, readers.count

    def begin(reader: int, slot: int) -> None:
        number, piece = next(numbers, (0, None))
        if piece is not None:
            reading[reader, slot] = piece
            readers.read(reader, slot, number)

    while missing or reading:
        for reader, slot in readers.done():
            if slot == PINNED:
                missing -= 1
                for each in range(DEPTH):
                    begin(reader, each)
                continue
            piece = reading.pop((reader, slot))
            slots.copy(reader, slot, memory.address(piece.number) + piece.offset, piece.length)
            last = copied.get(reader)
            copied[reader] = slot
            if last is not None:
                slots.wait(reader, last)  # It has had the time in which a piece is read.
                begin(reader, last)
            count += 1
            if count % _SIGN == 0:
                say()
    readers.end()
    slots.finish()
    memory.finish()


def _to_read(memory: Memory, content: Content, slots: Slots) -> Iterator[Piece]:
    """The pieces with something in them; the others are cleared on the way."""
    for piece in content.pieces():
        if piece.parts:
            yield piece
        else:
            slots.clear(memory.address(piece.number) + piece.offset, piece.length)


class Orders:
    """The lines of standard input, read at once: nobody is to wait for us with a pipe that is full."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> bytes:
        """Waits for the next one. Raises EOFError when there is none: the restore has ended."""
        line = self._lines.get()
        if not line:
            raise EOFError
        return line

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            self._lines.put(line)
        self._lines.put(b"")


def main(library: Any = None) -> None:
    """Works, and answers; `library` stands in for the driver's in tests."""
    readers = Readers()
    orders = Orders()
    with socket.socket(fileno=os.dup(sys.stdout.fileno())) as answers, suppress(EOFError, BrokenPipeError):

        def say(descriptors: Sequence[int] = (), **message: Any) -> None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            answers.sendmsg([json.dumps(message).encode()], rights)

        try:
            _load(orders, readers, say, library)
        except (OSError, ValueError) as error:
            say(error=str(error))
        orders.next()


def _load(orders: Orders, readers: Readers, say: Say, library: Any) -> None:
    moments, order = {"program": time.monotonic()}, json.loads(orders.next())
    gpu = Gpu(order["gpu"], library)
    free, wanted = gpu.free(), sum(order["lengths"]) + order["spare"]
    if free < wanted:
        raise GpuError(f"{free >> 20} MiB of the GPU's memory are free, and {wanted >> 20} MiB are needed with what the worker has")
    moments["context"] = time.monotonic()
    say(ready=True)
    told = orders.next()
    readers.tell(told)
    memory = Memory(gpu, order["lengths"], say)
    slots, content = Slots(gpu, readers), Content(**json.loads(told))
    moments["told"] = time.monotonic()
    fill(memory, content, readers, slots, say)
    moments["loaded"] = time.monotonic()
    say(loaded=content.bytes, seconds={name: round(moment - order["began"], 3) for name, moment in moments.items()})


if __name__ == "__main__":
    main()
    os._exit(0)  # Nothing is tidied: the kernel is faster at it.
