"""Protobuf's wire format, as far as CRIU's images need it: a message is a list of fields, and unknown ones are kept as they are.

Images come from a worker's node or from a store, so every length is checked and whatever is malformed raises ImageError.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chrek_agent.errors import AgentError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

_WIDTH: Final = {FIXED64: 8, FIXED32: 4}
_LONGEST: Final = 10
_WORD: Final = (1 << 64) - 1


class ImageError(AgentError):
    """A CRIU image is not what CRIU writes."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its number, its wire type, and a number (VARINT) or the raw bytes (all others)."""

    number: int
    kind: int
    value: int | bytes

    @property
    def integer(self) -> int:
        """The value of a VARINT. Raises ImageError for any other field."""
        if not isinstance(self.value, int):
            raise ImageError(f"field {self.number} of an image is not a number")
        return self.value

    @property
    def message(self) -> bytes:
        """The value of a BYTES field. Raises ImageError for a number."""
        if isinstance(self.value, int):
            raise ImageError(f"field {self.number} of an image is not a message")
        return self.value


def decode(message: bytes) -> list[Field]:
    """The message's fields in order. Raises ImageError."""
    fields = []
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ImageError("an image has a field with number 0")
        value: int | bytes
        if kind == VARINT:
            value, position = _varint(message, position)
        else:
            if kind == BYTES:
                length, position = _varint(message, position)
            elif kind in _WIDTH:
                length = _WIDTH[kind]
            else:
                raise ImageError(f"an image has a field of unknown wire type {kind}")
            if length > end - position:
                raise ImageError("an image ends within a field")
            value = message[position : position + length]
            position += length
        fields.append(Field(number, kind, value))
    return fields


def encode(fields: Iterable[Field]) -> bytes:
    """The inverse of `decode`."""
    parts = bytearray()
    for field in fields:
        parts += _encode_varint(field.number << 3 | field.kind)
        if isinstance(field.value, int):
            parts += _encode_varint(field.value)
        else:
            if field.kind == BYTES:
                parts += _encode_varint(len(field.value))
            parts += field.value
    return bytes(parts)


def numbers(fields: Iterable[Field]) -> dict[int, int]:
    """Number -> value of the VARINT fields; of a repeated one the last counts, as protobuf wants it."""
    return {field.number: field.value for field in fields if isinstance(field.value, int)}


def _varint(message: bytes, position: int) -> tuple[int, int]:
    result = 0
    for index, byte in enumerate(message[position : position + _LONGEST]):
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if result > _WORD:
                break
            return result, position + index + 1
    raise ImageError("an image has a number that is too long or cut off")


def _encode_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
