"""The index of a pack: which chunks lie where. Binary, small, written after the pack and ended by a digest of itself."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from blake3 import blake3

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import CHUNK, PAGE, PAGES, Extent, from_bitmap
from chrek_agent.store.codec import NAMES, RAW

PACKS: Final = "packs/"
PACK_END: Final = ".pack"
INDEX_END: Final = ".index"

_MAGIC: Final = b"chrekix2"
_SEALED: Final = b"chrekix3"
_HEAD: Final = struct.Struct("<8s32sQI")
_KEY: Final = 16
_RECORD: Final = struct.Struct(f"<32sQIIB{PAGES // 8}s")
_TAG: Final = 16
_DIGEST: Final = 32
_BITMAPS: Final = 1024
"""That are remembered."""


class Record(NamedTuple):
    """One chunk in a pack; of a sealed one also the name of the pack's key, hex, and the chunk's tag."""

    digest: bytes
    offset: int
    stored: int
    length: int
    codec: int
    bitmap: bytes
    key: str = ""
    tag: bytes = b""

    @property
    def extents(self) -> list[Extent]:
        """The stretches that are stored."""
        return list(_extents(self.bitmap, self.length))

    @property
    def dense(self) -> int:
        """Bytes of the stored pages."""
        return _dense(self.bitmap, self.length)

    @property
    def room(self) -> int:
        """Bytes taken up in the pack."""
        return round_up(self.stored)


# Nearly all chunks have the same few bitmaps, and a restore waits for thousands of them.
@lru_cache(_BITMAPS)
def _extents(bitmap: bytes, length: int) -> tuple[Extent, ...]:
    return tuple(from_bitmap(bitmap, length))


@lru_cache(_BITMAPS)
def _dense(bitmap: bytes, length: int) -> int:
    bits = int.from_bytes(bitmap, "little")
    last = -(-length // PAGE) - 1
    return bits.bit_count() * PAGE - (-length % PAGE if bits >> last & 1 else 0)


@dataclass(frozen=True, slots=True)
class Index:
    """All chunks of one pack of `size` bytes; `key` is the name of the key that it is sealed with, empty if it is not."""

    pack: str
    size: int
    records: dict[bytes, Record]
    key: str = ""


def pack_key(pack: str) -> str:
    """Where a pack is."""
    return f"{PACKS}{pack}{PACK_END}"


def index_key(pack: str) -> str:
    """Where its index is."""
    return f"{PACKS}{pack}{INDEX_END}"


def round_up(length: int) -> int:
    """To whole pages."""
    return -(-length // PAGE) * PAGE


def described(record: Record) -> bytes:
    """A record as an index has it, without its tag."""
    return _RECORD.pack(*record[:6])


def dump_index(index: Index) -> bytes:
    """As it is stored."""
    head = _HEAD.pack(_SEALED if index.key else _MAGIC, index.pack.encode(), index.size, len(index.records))
    content = head + bytes.fromhex(index.key) + b"".join(described(record) + record.tag for record in index.records.values())
    return content + blake3(content).digest()


def parse_index(pack: str, content: bytes) -> Index:
    """The index in these bytes.

    Raises:
        ArtifactError: They are not what was written for this pack.
    """
    if not is_whole(content):
        raise ArtifactError(f"the index of pack {pack} is damaged")
    magic, name, size, number = _HEAD.unpack_from(content)
    key, tag = (_KEY, _TAG) if magic == _SEALED else (0, 0)
    begin, step = _HEAD.size + key, _RECORD.size + tag
    if magic not in (_MAGIC, _SEALED) or name != pack.encode() or len(content) != begin + number * step + _DIGEST:
        raise ArtifactError(f"the index of pack {pack} is another pack's or of another version")
    key_name = content[_HEAD.size : begin].hex()
    records = {}
    position = 0
    for at in range(begin, len(content) - _DIGEST, step):
        record = Record._make((*_RECORD.unpack_from(content, at), key_name, content[at + _RECORD.size : at + step]))
        end = record.offset + record.room
        if not is_sound(record) or record.offset < position or end > size or record.digest in records:
            raise ArtifactError(f"the index of pack {pack} does not fit its pack")
        records[record.digest] = record
        position = end
    return Index(pack, size, records, key_name)


def is_whole(content: bytes) -> bool:
    """Whether these bytes end with the digest of those before."""
    return len(content) >= _HEAD.size + _DIGEST and blake3(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def is_sound(record: Record) -> bool:
    """Its fields fit each other."""
    if record.offset % PAGE or not 0 < record.length <= CHUNK or record.codec not in NAMES:
        return False
    dense = record.dense
    if not dense or int.from_bytes(record.bitmap, "little").bit_length() > -(-record.length // PAGE):
        return False
    return record.stored == dense if record.codec == RAW else 0 < record.stored < dense
