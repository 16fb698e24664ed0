"""Container logs in the format that containerd writes and the kubelet reads."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_CHUNK: Final = 16 * 1024
"""Longer lines are cut, as containerd cuts them."""


class Line(NamedTuple):
    """One entry of a log file; `whole` is false when the line goes on in the next one."""

    time: str
    stream: str
    whole: bool
    text: bytes


def encode(nanoseconds: int, stream: str, text: bytes, *, whole: bool) -> bytes:
    """An entry as it is in the file."""
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanoseconds % 10**9:09d}Z {stream} {'F' if whole else 'P'} ".encode() + text + b"\n"


def decode(entry: bytes) -> Line:
    """The entry, from a line of the file without its end."""
    moment, stream, tag, text = entry.split(b" ", 3)
    return Line(moment.decode(), stream.decode(), tag == b"F", text)


def shown(line: Line, *, timestamps: bool) -> bytes:
    """What a reader of the log gets to see of an entry."""
    return (line.time.encode() + b" " if timestamps else b"") + line.text + (b"\n" if line.whole else b"")


def select(lines: list[Line], *, tail: int | None, since: float | None) -> list[Line]:
    """The last `tail` lines, of those not older than `since` seconds of the epoch."""
    if since is not None:
        lines = [line for line in lines if datetime.fromisoformat(line.time).timestamp() >= since]
    if tail is None:
        return lines
    ends = [index for index, line in enumerate(lines) if line.whole]
    if lines and not lines[-1].whole:
        ends.append(len(lines) - 1)
    start = ends[-tail - 1] + 1 if 0 < tail < len(ends) else 0
    return lines[start:] if tail else []


class Log:
    """The log of one run of a container: written here, read by whoever asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self._open_streams = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    def stream(self, name: str) -> int:
        """A new pipe whose content goes into the log; returns the end to write to, which the caller closes."""
        read, write = os.pipe()
        task = asyncio.create_task(self._copy(name, read))
        self._tasks.add(task)
        return write

    async def finish(self, seconds: float) -> None:
        """Waits until all writers of the pipes are gone, but not longer than this; then no more is written."""
        if self.closed:
            return
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self.closed = True
        os.close(self._file)
        self._wake()

    async def changed(self) -> None:
        """Returns when something was added, or the log was closed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    async def _copy(self, name: str, descriptor: int) -> None:
        reader = asyncio.StreamReader(limit=4 * _CHUNK)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        rest = b""
        try:
            while data := await reader.read(_CHUNK):
                rest = self._write(name, rest + data)
            if rest:
                self._append(encode(time.time_ns(), name, rest, whole=True))
        finally:
            transport.close()

    def _write(self, name: str, data: bytes) -> bytes:
        """Writes the lines in `data`; returns what has no end yet."""
        *lines, rest = data.split(b"\n")
        now = time.time_ns()
        entries = [encode(now, name, part, whole=whole) for line in lines for part, whole in _cut(line)]
        while len(rest) >= _CHUNK:
            entries.append(encode(now, name, rest[:_CHUNK], whole=False))
            rest = rest[_CHUNK:]
        if entries:
            self._append(b"".join(entries))
        return rest

    def _append(self, data: bytes) -> None:
        os.write(self._file, data)
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


async def read(
    path: Path, log: Log | None, *, follow: bool, tail: int | None, since: float | None, timestamps: bool
) -> AsyncIterator[bytes]:
    """The file's content for a reader; with `follow` and a log that is still written, all that comes."""
    # The file is kept open: a pod that is deleted takes it away while it is read.
    with path.open("rb") as file:
        for line in select(_entries(file), tail=tail, since=since):
            yield shown(line, timestamps=timestamps)
        while follow and log is not None:
            finished = log.closed
            lines = _entries(file)
            for line in lines:
                yield shown(line, timestamps=timestamps)
            if finished:
                return
            if not lines:
                await log.changed()


def _entries(file: BinaryIO) -> list[Line]:
    """The entries that were added since the last call."""
    start = file.tell()
    data = file.read()
    complete = data[: data.rfind(b"\n") + 1]
    file.seek(start + len(complete))
    return [decode(entry) for entry in complete.split(b"\n")[:-1]]


def _cut(line: bytes) -> Iterator[tuple[bytes, bool]]:
    while len(line) > _CHUNK:
        yield line[:_CHUNK], False
        line = line[_CHUNK:]
    yield line, True
