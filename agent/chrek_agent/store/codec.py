"""How a chunk's pages are stored: as they are, or compressed where it pays. Weights do not compress; a heap does."""

import threading
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import Buffer

try:
    import zstandard
except ImportError:  # Without it nothing is compressed.
    AVAILABLE = False
else:
    AVAILABLE = True

RAW: Final = 0
ZSTD: Final = 1
NAMES: Final = {RAW: "raw", ZSTD: "zstd"}

_LEVEL: Final = 1
_WORTH: Final = 1.1
"""The least ratio for which a restore decompresses."""
_SAMPLE: Final = 64 << 10
_local: Final = threading.local()


def compress(pieces: list[memoryview]) -> bytes | None:
    """The pieces as one zstd frame; None where that is no tenth smaller, or cannot be done."""
    if not AVAILABLE:
        return None
    dense = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    middle = len(dense) // 2
    sample = dense[middle : middle + _SAMPLE]
    if len(compressor.compress(sample)) * _WORTH > len(sample):
        return None
    packed = compressor.compress(dense)
    return packed if len(packed) * _WORTH <= len(dense) else None


def decode(codec: int, stored: memoryview, length: int) -> memoryview:
    """The pages that were stored, `length` bytes.

    Raises:
        ArtifactError: These bytes do not say so.
    """
    if codec == RAW:
        return stored
    if not AVAILABLE:
        raise ArtifactError("the artifact is compressed; this agent lacks the package zstandard")
    try:
        if zstandard.frame_content_size(stored) != length:
            raise ArtifactError("a compressed chunk has another size")
        return memoryview(_decompressor().decompress(stored, max_output_size=length, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise ArtifactError(f"a chunk cannot be decompressed: {error}") from error


def _decompressor() -> "zstandard.ZstdDecompressor":
    """One for each thread: they must not be shared."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    return _local.decompressor  # type: ignore[no-any-return]


def as_stored(pieces: list[memoryview], *, squeeze: bool) -> tuple[int, list[Buffer]]:
    """Codec and bytes of a chunk's pages."""
    packed = compress(pieces) if squeeze else None
    return (RAW, list(pieces)) if packed is None else (ZSTD, [packed])
