"""Where the runs of an artifact belong in a restored, stopped tree: processes' memory, and shared memory objects."""

import errno
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from chrek_agent.container import processes
from chrek_agent.criu.mappings import read_mappings
from chrek_agent.criu.shared import shared_places
from chrek_agent.memory.access import Extent, open_memory
from chrek_agent.memory.harvest import PRIVATE, SHARED, number_of
from chrek_agent.store.model import Run

_LINE: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ...s ")


class Target(Protocol):
    """Takes the content of runs."""

    forced: int
    """Bytes that needed more than a plain write."""

    def write(self, extents: Sequence[Extent], content: memoryview) -> None:
        """Writes `content` to the extents, one after the other. Raises OSError."""


@dataclass(slots=True)
class SharedObject:
    """Shared memory, written as the file that it is; its mappings' protections do not matter."""

    descriptor: int
    forced: int = 0

    def write(self, extents: Sequence[Extent], content: memoryview) -> None:
        """See Target."""
        position = 0
        for offset, length in extents:
            done = 0
            while done < length:
                done += os.pwrite(self.descriptor, content[position + done : position + length], offset + done)
            position += length


def find_targets(
    stack: ExitStack, runs: Sequence[Run], images: Path, members: Sequence[processes.Process]
) -> dict[tuple[str, int], Target]:
    """The target of each kind and owner among `runs`; `stack` closes them.

    Raises:
        OSError: A process or an object is not there.
        ImageError: An image is malformed.
    """
    found: dict[tuple[str, int], Target] = {}
    wanted = {(run.kind, run.owner) for run in runs}
    places = _shared_places(images) if any(kind == SHARED for kind, _ in wanted) else {}
    for kind, owner in wanted:
        if kind == PRIVATE:
            found[kind, owner] = stack.enter_context(open_memory(members, owner))
        elif kind == SHARED:
            descriptor = _open_shared(owner, places.get(owner, []), members)
            stack.callback(os.close, descriptor)
            found[kind, owner] = SharedObject(descriptor)
        else:
            raise OSError(errno.ENOTSUP, f"memory of kind {kind} is not known to this agent")
    return found


def _shared_places(images: Path) -> dict[int, list[tuple[int, int]]]:
    return shared_places(images, {number_of(path): read_mappings(path) for path in images.glob("mm-*.img")})


def _open_shared(owner: int, places: Sequence[tuple[int, int]], members: Sequence[processes.Process]) -> int:
    """The object behind a mapping, opened by way of a process that has it mapped."""
    pids = {member.inner: member.pid for member in members}
    for inner, address in places:
        if inner in pids:
            return os.open(f"/proc/{pids[inner]}/map_files/{_area(pids[inner], address)}", os.O_RDWR | os.O_CLOEXEC)
    raise OSError(errno.ENOENT, f"shared memory {owner:#x} is not mapped by any process")


def _area(pid: int, address: int) -> str:
    """The name in map_files of the shared mapping that `address` is in."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _LINE.match(line)
        if match and int(match[1], 16) <= address < int(match[2], 16):
            return f"{match[1]}-{match[2]}"
    raise OSError(errno.ENOENT, f"process {pid} has no shared mapping at {address:#x}")
