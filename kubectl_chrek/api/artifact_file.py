"""The form in which an artifact travels: one file, or one stream, for stores that cannot reach each other.

    MAGIC, 16 bytes
    HEAD       JSON: identityHash, generation, digest (SHA-256 of the manifest), chunks, bytes; signature, if there is one
    OBJECT     JSON, at most one: the DynamoCheckpoint that the artifact was captured for
    MANIFEST   manifest.json, byte for byte
    CHUNK ...  one for each chunk that is not all zeros, in the manifest's order; those that the receiver has may be missing
    END        JSON: chunks

Each part is `kind, 4 bytes | length of its label, u32 | length of its content, u64 | label | content`, little endian. The label of
a document is the SHA-256 of its content. That of a chunk names and describes it as the index of a pack does; its content is
checked against that name, which the manifest vouches for. So every byte is covered, parts may be left out, and a file that was cut
off can be continued at the end of its last whole part.
"""

import hashlib
import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from kubectl_chrek.api.errors import ChrekError

MAGIC: Final = b"chrek-artifact/1"
HEAD: Final = b"HEAD"
OBJECT: Final = b"OBJT"
MANIFEST: Final = b"MANI"
CHUNK: Final = b"CHNK"
END: Final = b"DONE"

PART: Final = struct.Struct("<4sIQ")
_LABEL_LIMIT: Final = 4096
_LIMITS: Final = {HEAD: 1 << 16, OBJECT: 4 << 20, MANIFEST: 256 << 20, CHUNK: 2 << 20, END: 1 << 16}
"""The longest content of each kind: what a damaged length may make a reader hold."""


class ArtifactFileError(ChrekError):
    """A file or stream is not an artifact, or not whole."""


class CutError(ArtifactFileError):
    """It ends too early."""


class Source(Protocol):
    """What can be read."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One part."""

    kind: bytes
    label: bytes
    content: bytes | memoryview

    @property
    def pieces(self) -> tuple[bytes, bytes | memoryview]:
        """As it is written."""
        return PART.pack(self.kind, len(self.label), len(self.content)) + self.label, self.content

    @property
    def size(self) -> int:
        """Bytes when written."""
        return PART.size + len(self.label) + len(self.content)


@dataclass(frozen=True, slots=True)
class Head:
    """Which artifact it is: `digest` is that of its manifest, `bytes` what its chunks hold before compression."""

    identity_hash: str
    generation: str
    digest: str
    chunks: int
    bytes: int
    signature: str = ""
    """Of its manifest, hex."""

    def part(self) -> Part:
        """As a part."""
        found: dict[str, object] = {"identityHash": self.identity_hash, "generation": self.generation, "digest": self.digest}
        found |= {"chunks": self.chunks, "bytes": self.bytes} | ({"signature": self.signature} if self.signature else {})
        return document(HEAD, json.dumps(found).encode())


def document(kind: bytes, content: bytes) -> Part:
    """Any part but a chunk."""
    return Part(kind, hashlib.sha256(content).digest(), content)


def read_head(part: Part) -> Head:
    """Raises ArtifactFileError: the part is none."""
    try:
        found = json.loads(bytes(part.content))
        texts = found["identityHash"], found["generation"], found["digest"], found.get("signature", "")
        head = Head(*texts[:3], found["chunks"], found["bytes"], texts[3])
    except (ValueError, KeyError, TypeError):
        raise ArtifactFileError("the file's head is not understood") from None
    numbers = head.chunks, head.bytes
    if part.kind != HEAD or not all(isinstance(text, str) for text in texts) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ArtifactFileError("the file's head is not understood")
    return head


def read_object(part: Part) -> dict[str, Any]:
    """The DynamoCheckpoint in a part. Raises ArtifactFileError."""
    try:
        found = json.loads(bytes(part.content))
    except ValueError:
        found = None
    if part.kind != OBJECT or not isinstance(found, dict):
        raise ArtifactFileError("the file's checkpoint is not understood")
    return found


def read_parts(source: Source) -> Iterator[Part]:
    """All parts up to END, which is the last.

    Raises:
        ArtifactFileError: It is no artifact, or damaged. CutError: it ends before its end.
        OSError: It cannot be read.
    """
    if _exactly(source, len(MAGIC)) != MAGIC:
        raise ArtifactFileError("this is no artifact that `export` wrote, or one of another version")
    while True:
        part = read_part(source)
        yield part
        if part.kind == END:
            return


def read_part(source: Source) -> Part:
    """The next part; raises as `read_parts`."""
    kind, label_length, length = check_lengths(_exactly(source, PART.size))
    label = _exactly(source, label_length)
    content = _exactly(source, length)
    if kind != CHUNK and hashlib.sha256(content).digest() != label:
        raise ArtifactFileError(f"the file is damaged: its {kind.decode()} part is not what was written")
    return Part(kind, label, content)


def check_lengths(header: bytes) -> tuple[bytes, int, int]:
    """Kind, and the lengths of label and content, of a part; raises ArtifactFileError if no part begins like this."""
    kind, label_length, length = PART.unpack(header)
    if label_length > _LABEL_LIMIT or length > _LIMITS.get(kind, -1):
        raise ArtifactFileError("the file is damaged: what should be a part of it is none")
    return kind, label_length, length


def _exactly(source: Source, size: int) -> bytes:
    pieces = []
    while size:
        piece = source.read(size)
        if not piece:
            raise CutError("the file ends before its end", hint="copy or export it again; what is there can be continued")
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a file goes: its head, the end of its last whole part, and the whole chunks before that; `complete`: END is there."""

    head: Head
    offset: int
    chunks: int
    complete: bool


def measure(file: BinaryIO) -> Extent | None:
    """How far an artifact file goes; contents of chunks are passed over. None: not even its manifest is whole.

    Raises:
        ArtifactFileError: It is another file, or damaged.
        OSError: It cannot be read.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    offset = chunks = 0
    head: Head | None = None
    manifest = False
    try:
        if _exactly(file, len(MAGIC)) != MAGIC:
            raise ArtifactFileError("this is no artifact that `export` wrote, or one of another version")
        while True:
            kind, label, length = check_lengths(_exactly(file, PART.size))
            end = file.tell() + label + length
            if end > size:
                break
            if kind == HEAD:
                file.seek(-PART.size, io.SEEK_CUR)
                head = read_head(read_part(file))
            file.seek(end)
            manifest = manifest or kind == MANIFEST
            chunks += kind == CHUNK
            offset = end
            if kind == END:
                return Extent(head, offset, chunks, complete=True) if head and manifest else None
    except CutError:
        pass
    return Extent(head, offset, chunks, complete=False) if head and manifest else None
