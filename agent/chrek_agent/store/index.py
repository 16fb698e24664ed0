"""The index of a pack: which chunks lie where. Binary, small, written after the pack and ended by a digest of itself."""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from blake3 import blake3

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import CHUNK, PAGE, PAGES, Extent, from_bitmap
from chrek_agent.store.codec import NAMES, RAW

PACKS: Final = "packs/"
PACK_END: Final = ".pack"
INDEX_END: Final = ".index"

_MAGIC: Final = b"chrekix2"
_HEAD: Final = struct.Struct("<8s32sQI")
_RECORD: Final = struct.Struct(f"<32sQIIB{PAGES // 8}s")
_DIGEST: Final = 32


class Record(NamedTuple):
    """One chunk in a pack."""

    digest: bytes
    offset: int
    stored: int
    length: int
    codec: int
    bitmap: bytes

    @property
    def extents(self) -> list[Extent]:
        """The stretches that are stored."""
        return from_bitmap(self.bitmap, self.length)

    @property
    def dense(self) -> int:
        """Bytes of the stored pages."""
        bits = int.from_bytes(self.bitmap, "little")
        last = -(-self.length // PAGE) - 1
        return bits.bit_count() * PAGE - (-self.length % PAGE if bits >> last & 1 else 0)

    @property
    def room(self) -> int:
        """Bytes taken up in the pack."""
        return round_up(self.stored)


@dataclass(frozen=True, slots=True)
class Index:
    """All chunks of one pack of `size` bytes."""

    pack: str
    size: int
    records: dict[bytes, Record]


def pack_key(pack: str) -> str:
    """Where a pack is."""
    return f"{PACKS}{pack}{PACK_END}"


def index_key(pack: str) -> str:
    """Where its index is."""
    return f"{PACKS}{pack}{INDEX_END}"


def round_up(length: int) -> int:
    """To whole pages."""
    return -(-length // PAGE) * PAGE


def dump_index(index: Index) -> bytes:
    """As it is stored."""
    head = _HEAD.pack(_MAGIC, index.pack.encode(), index.size, len(index.records))
    content = head + b"".join(_RECORD.pack(*record) for record in index.records.values())
    return content + blake3(content).digest()


def parse_index(pack: str, content: bytes) -> Index:
    """The index in these bytes.

    Raises:
        ArtifactError: They are not what was written for this pack.
    """
    if not is_whole(content):
        raise ArtifactError(f"the index of pack {pack} is damaged")
    magic, name, size, number = _HEAD.unpack_from(content)
    if magic != _MAGIC or name != pack.encode() or len(content) != _HEAD.size + number * _RECORD.size + _DIGEST:
        raise ArtifactError(f"the index of pack {pack} is another pack's or of another version")
    records = {}
    position = 0
    for fields in _RECORD.iter_unpack(content[_HEAD.size : -_DIGEST]):
        record = Record(*fields)
        if not is_sound(record) or record.offset < position or record.offset + record.room > size or record.digest in records:
            raise ArtifactError(f"the index of pack {pack} does not fit its pack")
        records[record.digest] = record
        position = record.offset + record.room
    return Index(pack, size, records)


def is_whole(content: bytes) -> bool:
    """Whether these bytes end with the digest of those before."""
    return len(content) >= _HEAD.size + _DIGEST and blake3(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def is_sound(record: Record) -> bool:
    """Its fields fit each other."""
    if record.offset % PAGE or not 0 < record.length <= CHUNK or record.codec not in NAMES:
        return False
    bits = int.from_bytes(record.bitmap, "little")
    if bits == 0 or bits.bit_length() > -(-record.length // PAGE):
        return False
    return record.stored == record.dense if record.codec == RAW else 0 < record.stored < record.dense
