"""CRIU's image files: two magic numbers, then messages, each after its length. All numbers are little-endian."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from chrek_agent.criu.wire import ImageError

PAGEMAP_MAGIC: Final = 0x56084025
MM_MAGIC: Final = 0x57492820
FILES_MAGIC: Final = 0x56303138
MEMFD_MAGIC: Final = 0x48453499
_COMMON_MAGIC: Final = 0x54564319
_HEAD: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
# A pagemap takes about 20 bytes for each run of pages; nothing that CRIU writes comes near this.
_LIMIT: Final = 1 << 30


def read_image(path: Path, magic: int) -> list[bytes]:
    """The messages of an image of this kind.

    Raises:
        ImageError: It is of another kind, cut off, or beyond all measure.
        OSError: It cannot be read.
    """
    if path.stat().st_size > _LIMIT:
        raise ImageError(f"image {path.name} is larger than any that CRIU writes")
    content = path.read_bytes()
    if len(content) < _HEAD.size or _HEAD.unpack_from(content) != (_COMMON_MAGIC, magic):
        raise ImageError(f"image {path.name} does not begin as one of its kind does")
    messages = []
    position = _HEAD.size
    while position < len(content):
        start = position + _LENGTH.size
        if start > len(content):
            raise ImageError(f"image {path.name} is cut off")
        position = start + _LENGTH.unpack_from(content, start - _LENGTH.size)[0]
        if position > len(content):
            raise ImageError(f"image {path.name} is cut off")
        messages.append(content[start:position])
    return messages


def write_image(path: Path, magic: int, messages: Iterable[bytes]) -> None:
    """Replaces an image. Raises OSError."""
    content = bytearray(_HEAD.pack(_COMMON_MAGIC, magic))
    for message in messages:
        content += _LENGTH.pack(len(message))
        content += message
    path.write_bytes(content)
