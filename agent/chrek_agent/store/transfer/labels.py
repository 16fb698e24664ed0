"""Chunks as parts of an artifact file: their labels are records of a pack's index, less the place."""

import struct
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store import chunking
from chrek_agent.store.chunking import PAGES
from chrek_agent.store.codec import decode
from chrek_agent.store.index import Record, is_sound
from kubectl_chrek.api.artifact_file import CHUNK, Part

_LABEL: Final = struct.Struct(f"<32sIB{PAGES // 8}s")


def to_part(record: Record, codec: int, stored: bytes | memoryview) -> Part:
    """A chunk as it travels."""
    return Part(CHUNK, _LABEL.pack(record.digest, record.length, codec, record.bitmap), stored)


def named(part: Part) -> bytes:
    """The digest that a chunk's label names. Raises ArtifactError."""
    if part.kind != CHUNK or len(part.label) != _LABEL.size:
        raise ArtifactError("a part of the file that should be a chunk is none")
    digest: bytes = _LABEL.unpack(part.label)[0]
    return digest


def checked(part: Part) -> Record:
    """The chunk that a part holds; ArtifactError unless it is the one that its label names."""
    digest, length, codec, bitmap = _LABEL.unpack(part.label)
    record = Record(digest, 0, len(part.content), length, codec, bitmap)
    name = digest.hex()[:16]
    if not is_sound(record):
        raise ArtifactError(f"chunk {name} in the file is damaged: its label does not fit it")
    try:
        dense = decode(codec, memoryview(part.content), record.dense)
    except ArtifactError as error:
        raise ArtifactError(f"chunk {name} in the file is damaged: {error}") from error
    if chunking.digest(length, chunking.scatter(record.extents, dense)) != digest:
        raise ArtifactError(f"chunk {name} in the file is damaged: it is not what its name says")
    return record
