"""`mm-*.img`: the mappings of a process, and the one thing that we change in them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chrek_agent.criu.images import MM_MAGIC, read_image, write_image
from chrek_agent.criu.wire import BYTES, VARINT, Field, ImageError, decode, encode, numbers

# Field numbers in mm_entry and vma_entry.
_VMAS: Final = 14
_START, _END, _PGOFF, _SHMID, _PROT, _FLAGS, _STATUS, _MADV = 1, 2, 3, 4, 5, 6, 7, 9

_MAP_PRIVATE: Final = 0x02
_MAP_ANONYMOUS: Final = 0x20
_MAP_GROWSDOWN: Final = 0x100
_MAP_LOCKED: Final = 0x2000
_MAP_HUGETLB: Final = 0x40000
_FILE_SHARED: Final = 1 << 7
_ANON_SHARED: Final = 1 << 8
_VSYSCALL: Final = 1 << 2
_VDSO: Final = 1 << 3
_VVAR: Final = 1 << 12
_SYSVIPC: Final = 1 << 10
_MEMFD: Final = 1 << 14
# Bits of `madv` are numbered as madvise(2)'s advice.
_HUGEPAGE: Final = 1 << 14
_NOHUGEPAGE: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping; addresses and offsets are in bytes."""

    start: int
    end: int
    offset: int
    shared: int
    """CRIU's number of the shared memory object behind it, or of the file."""
    protection: int
    flags: int
    status: int
    advice: int

    @property
    def length(self) -> int:
        """Bytes of address space."""
        return self.end - self.start

    @property
    def may_be_huge(self) -> bool:
        """Private anonymous memory that does not grow, and that nobody has refused huge pages for."""
        wanted = self.flags & (_MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_GROWSDOWN | _MAP_HUGETLB) == _MAP_PRIVATE | _MAP_ANONYMOUS
        return wanted and not self.advice & (_HUGEPAGE | _NOHUGEPAGE)

    @property
    def is_held_up(self) -> bool:
        """CRIU has who touches it wait where it restores with `--lazy-pages`."""
        wanted = self.flags & (_MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_LOCKED | _MAP_HUGETLB) == _MAP_PRIVATE | _MAP_ANONYMOUS
        return wanted and not self.status & (_VSYSCALL | _VDSO | _VVAR)

    @property
    def may_come_late(self) -> bool:
        """Such memory, and no stack."""
        return self.is_held_up and not self.flags & _MAP_GROWSDOWN

    @property
    def anonymous_shared(self) -> bool:
        """Shared memory without a name, neither System V's nor on huge pages."""
        return bool(self.status & _ANON_SHARED) and not self.status & _SYSVIPC and not self.flags & _MAP_HUGETLB

    @property
    def shared_memfd(self) -> bool:
        """A memfd's memory, not a private copy of it."""
        return self.status & (_FILE_SHARED | _MEMFD) == _FILE_SHARED | _MEMFD


def read_mappings(path: Path) -> list[Mapping]:
    """The mappings in an mm image, by address. Raises ImageError, or OSError."""
    found = [_mapping(field.message) for field in _fields(path) if field.number == _VMAS]
    return sorted(found, key=lambda mapping: mapping.start)


def advise_huge(path: Path, starts: Collection[int]) -> None:
    """Has the mappings that begin at `starts` advised MADV_HUGEPAGE at restore. Raises ImageError, or OSError."""
    if starts:
        fields = (_advised(field, starts) if field.number == _VMAS else field for field in _fields(path))
        write_image(path, MM_MAGIC, [encode(fields)])


def _fields(path: Path) -> list[Field]:
    messages = read_image(path, MM_MAGIC)
    if len(messages) != 1:
        raise ImageError(f"image {path.name} holds {len(messages)} messages, not one")
    return decode(messages[0])


def _mapping(message: bytes) -> Mapping:
    values = numbers(decode(message))
    wanted = (_START, _END, _PGOFF, _SHMID, _PROT, _FLAGS, _STATUS)
    if any(number not in values for number in wanted) or values[_START] >= values[_END]:
        raise ImageError("a mapping in an mm image is incomplete")
    start, end, offset, shared, protection, flags, status = (values[number] for number in wanted)
    return Mapping(start, end, offset, shared, protection, flags, status, values.get(_MADV, 0))


def _advised(field: Field, starts: Collection[int]) -> Field:
    fields = decode(field.message)
    values = numbers(fields)
    if values.get(_START) not in starts:
        return field
    advice = Field(_MADV, VARINT, values.get(_MADV, 0) | _HUGEPAGE)
    return replace(field, kind=BYTES, value=encode(_with(fields, advice)))


def _with(fields: Iterable[Field], field: Field) -> list[Field]:
    """The fields with this one in place of those of its number, in the order of numbers as CRIU writes them."""
    kept = [other for other in fields if other.number != field.number]
    return sorted([*kept, field], key=lambda other: other.number)
