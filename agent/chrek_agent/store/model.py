"""What a manifest holds: everything that a restore needs to know, and the digests of everything that it reads.

The manifest's own digest stands in the checkpoint's status. Sizes are in bytes, digests are BLAKE3, hex.
"""

import hashlib
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import PAGE, count

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"
IMAGES: Final = "images"
ROOTFS: Final = "rootfs.tar"
SHM: Final = "shm.tar"
APART: Final = "apart"
"""Kind of a run that its worker loads by itself: its owner is a PID inside the container, its start an address there."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$")]
"""One plain path element."""


def is_plain(path: str) -> bool:
    """The path is relative and stays below where it is put."""
    return "\0" not in path and all(element not in ("", ".", "..") for element in path.split("/"))


def _plain(path: str) -> str:
    if not is_plain(path):
        raise ValueError(f"{path!r} is no path inside an artifact")
    return path


class Strict(BaseModel):
    """Base of what we write ourselves: an unknown field means another version or damage."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Owner(Strict):
    """The DynamoCheckpoint that the artifact belongs to."""

    namespace: str
    name: str
    uid: str


class Source(Strict):
    """The container that was captured."""

    node: str
    pod: str
    container: str
    image: str
    image_id: str
    worker: int
    """The worker's PID inside its container: the root of the dumped tree."""
    pids: list[int]
    """All PIDs of the dumped tree, inside; a restore needs them free."""
    pipes: dict[int, str]
    """Standard streams that were pipes to the runtime: descriptor -> `pipe:[inode]`."""


class Blob(Strict):
    """One file: its chunks in order; None is one of zeros."""

    size: NonNegativeInt
    chunks: list[Digest | None]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.chunks) != count(self.size):
            raise ValueError("chunks do not add up to the size")
        return self


class Run(Strict):
    """One stretch of memory."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    owner: NonNegativeInt
    """The process or the shared object that it belongs to."""
    start: NonNegativeInt
    """Address in the process or offset in the object."""
    length: PositiveInt
    chunks: list[Digest | None]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.start % PAGE or self.length % PAGE or len(self.chunks) != count(self.length):
            raise ValueError("chunks do not add up to the run")
        return self


class Sizes(Strict):
    """Bytes of the content, and of what the capture added to the store for it."""

    logical: NonNegativeInt
    stored: NonNegativeInt


class Fields(Strict):
    """What a capture says about its artifact."""

    identity_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
    identity: dict[str, object]
    created_at: datetime
    owner: Owner
    source: Source
    compatibility: dict[str, object]
    """What the images depend on."""
    deleted: list[str]
    """Paths that the source had removed from its image, relative to the root; removed again before rootfs.tar is unpacked."""
    cold_start_seconds: float = 0.0
    phases: dict[str, float] = Field(default_factory=dict)


class Manifest(Fields):
    """Everything about an artifact."""

    format: int = FORMAT
    generation: Name
    files: dict[Annotated[str, AfterValidator(_plain)], Blob]
    memory: list[Run]
    packs: list[Name]
    """Where the chunks were at the commit: a hint, for a repack moves them."""
    sizes: Sizes

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for run, after in pairwise(sorted(self.memory, key=lambda run: (run.kind, run.owner, run.start))):
            if (run.kind, run.owner) == (after.kind, after.owner) and run.start + run.length > after.start:
                raise ValueError("runs overlap")
        for path in self.files:
            if any(parent in self.files for parent in _parents(path)):
                raise ValueError(f"{path!r} is below a file")
        if self.sizes.logical != sum(item.size for item in self.files.values()) + sum(run.length for run in self.memory):
            raise ValueError("sizes do not add up")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files and all memory."""
        return self.sizes.logical

    def digests(self) -> set[bytes]:
        """The digests of all chunks."""
        lists = [*(item.chunks for item in self.files.values()), *(run.chunks for run in self.memory)]
        return {bytes.fromhex(digest) for chunks in lists for digest in chunks if digest is not None}


def _parents(path: str) -> list[str]:
    elements = path.split("/")
    return ["/".join(elements[:depth]) for depth in range(1, len(elements))]


def digest_manifest(content: bytes) -> str:
    """SHA-256, hex: what a checkpoint's status holds of its manifest."""
    return hashlib.sha256(content).hexdigest()


def dump_manifest(manifest: Manifest) -> bytes:
    """As it is stored."""
    return manifest.model_dump_json(indent=1).encode()


def parse_manifest(generation: str, content: bytes) -> Manifest:
    """The manifest in these bytes.

    Raises:
        ArtifactError: It is damaged, of another version or another artifact's.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "manifest"
        raise ArtifactError(
            f"the manifest of artifact {generation} is damaged or of another version: {where}: {first['msg']}"[:300]
        ) from None
    if manifest.format != FORMAT:
        raise ArtifactError(f"artifact {generation} has format {manifest.format}, this agent reads {FORMAT}")
    if manifest.generation != generation:
        raise ArtifactError(f"artifact {generation} is corrupt: its manifest is that of {manifest.generation}")
    return manifest
