"""A root directory as an image: one layer in a docker archive, the same bytes for the same files."""

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ARCHITECTURE: Final = "amd64"
# What a container gets anew in any case, and what only installing needs.
_EMPTIED: Final = frozenset({"proc", "sys", "dev", "run", "tmp", "var/tmp", "var/cache/apt", "var/lib/apt/lists", "var/log"})


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How a container of the image starts."""

    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    folder: str = "/"


def write_archive(root: Path, tag: str, config: ImageConfig, archive: Path) -> str:
    """Writes the archive that `docker load`, `podman load` and `ctr images import` take; returns its layer's digest."""
    layer = archive.with_suffix(".layer")
    try:
        write_layer(root, layer)
        with layer.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
        with tarfile.open(archive, "w") as tar:
            _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
            _add_bytes(tar, "config.json", json.dumps(image_json(config, digest), sort_keys=True).encode())
            tar.add(layer, "layer.tar", filter=_undated)
    finally:
        layer.unlink(missing_ok=True)
    return digest


def image_json(config: ImageConfig, layer: str) -> dict[str, Any]:
    """The image's configuration as the OCI specification has it; `layer` is the digest of its one layer."""
    return {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": [f"{name}={value}" for name, value in config.environment.items()],
            "Labels": config.labels,
            "Entrypoint": list(config.entrypoint),
            "User": config.user,
            "WorkingDir": config.folder,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    }


def write_layer(root: Path, layer: Path) -> None:
    """All below a root directory, sorted, with owners by number and no dates."""
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _paths(root):
            name = str(path.relative_to(root))
            status = path.lstat()
            member = tar.gettarinfo(str(path), name)
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if member.islnk() or (member.isfile() and first != name):
                member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0
            with path.open("rb") if member.isreg() else contextlib.nullcontext() as file:
                tar.addfile(_undated(member), file)


def _paths(root: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(root):
        place = Path(parent).relative_to(root)
        directories.sort()
        linked = [name for name in directories if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*files, *directories]) if not _left_out(place / name))
        directories[:] = [name for name in directories if name not in linked and str(place / name) not in _EMPTIED]


def _left_out(path: Path) -> bool:
    """Whatever lies in a folder that is emptied."""
    return any(str(parent) in _EMPTIED for parent in path.parents)


def _undated(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = 0
    member.uname = member.gname = ""
    return member


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
