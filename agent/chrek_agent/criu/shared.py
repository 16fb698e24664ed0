"""Shared memory objects in CRIU's images: which mappings lead to each. CRIU takes anonymous shared memory for a memfd, too."""

from collections.abc import Mapping as Map
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chrek_agent.criu.images import FILES_MAGIC, MEMFD_MAGIC, read_image
from chrek_agent.criu.mappings import Mapping
from chrek_agent.criu.wire import decode, numbers

# Field numbers in file_entry, memfd_file_entry and memfd_inode_entry.
_TYPE, _ID, _MEMFD = 1, 2, 20
_FILE_INODE = 5
_SHMID, _SEALS, _INODE, _HUGE = 5, 6, 7, 8

_MEMFD_TYPE: Final = 18
# F_SEAL_WRITE and F_SEAL_FUTURE_WRITE: nobody may write to it any more.
_SEALED: Final = 0x08 | 0x10


def shared_places(images: Path, mappings: Map[int, Sequence[Mapping]]) -> dict[int, list[tuple[int, int]]]:
    """The objects that can be written from outside once they are restored.

    Args:
        images: A dump.
        mappings: Each process's mappings, by its PID inside.

    Returns:
        Number of each object, as in the name of its pagemap -> PID and address of all its mappings.

    Raises:
        ImageError: An image is malformed.
        OSError: One cannot be read.
    """
    objects = _memfds(images)
    found: dict[int, list[tuple[int, int]]] = {}
    for pid, areas in sorted(mappings.items()):
        for area in areas:
            number = area.shared if area.anonymous_shared else objects.get(area.shared) if area.shared_memfd else None
            if number is not None:
                found.setdefault(number, []).append((pid, area.start))
    return found


def _memfds(images: Path) -> dict[int, int]:
    """Number of a file -> number of the shared object that it is, if that may be written and is not on huge pages."""
    if not (images / "memfd.img").exists():
        return {}
    inodes = {}
    for message in read_image(images / "memfd.img", MEMFD_MAGIC):
        values = numbers(decode(message))
        if not values.get(_SEALS, 0) & _SEALED and not values.get(_HUGE, 0) and _SHMID in values:
            inodes[values.get(_INODE, -1)] = values[_SHMID]
    found = {}
    for message in read_image(images / "files.img", FILES_MAGIC):
        fields = decode(message)
        values = numbers(fields)
        for field in fields:
            if field.number == _MEMFD and values.get(_TYPE) == _MEMFD_TYPE:
                number = inodes.get(numbers(decode(field.message)).get(_FILE_INODE, -1))
                if number is not None and _ID in values:
                    found[values[_ID]] = number
    return found
