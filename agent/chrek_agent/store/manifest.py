"""The manifest: the last file written of an artifact, and the only one that is believed without a digest beside it.

Its own digest stands in the checkpoint's status. Sizes are in bytes, digests are BLAKE3, hex.
"""

import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chrek_agent.errors import ArtifactError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
IMAGES: Final = "images"
ROOTFS: Final = "rootfs.tar"
SHM: Final = "shm.tar"


class Strict(BaseModel):
    """Base of what we write ourselves: an unknown field means another version or damage."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(Strict):
    """One file of the artifact."""

    size: int
    digest: str


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


class Platform(Strict):
    """What the images depend on."""

    architecture: str
    kernel: str
    cpu_features: list[str]
    criu: str


class Manifest(Strict):
    """Everything that a restore needs to know."""

    format: int = FORMAT
    identity_hash: str
    identity: dict[str, object]
    generation: str
    created_at: datetime
    owner: Owner
    source: Source
    platform: Platform
    deleted: list[str]
    """Paths that the source had removed from its image, relative to the root; removed again before rootfs.tar is unpacked."""
    files: dict[str, FileEntry]
    """All files of the artifact but the manifest: path relative to its directory -> size and digest."""
    cold_start_seconds: float = 0.0
    phases: dict[str, float] = Field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """The manifest of an artifact and its bytes.

    Raises:
        ArtifactError: There is none, or it is not one of ours.
    """
    path = directory / MANIFEST
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ArtifactError(f"artifact {directory.name} is corrupt: {MANIFEST} is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"artifact {directory.name} has no manifest: {error.strerror}") from error
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactError(f"the manifest of artifact {directory.name} is damaged or of another version") from error
    if manifest.format != FORMAT:
        raise ArtifactError(f"artifact {directory.name} has format {manifest.format}, this agent reads {FORMAT}")
    return manifest, content
