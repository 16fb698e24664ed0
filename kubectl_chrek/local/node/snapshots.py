"""Root file systems of containers: an overlay on this machine's own root."""

import os
import shutil
from pathlib import Path
from typing import Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.node import mounts
from kubectl_chrek.local.node.config import NodeConfig

# A new container must not find the files that the machine's own programs keep at these places: its worker would take a
# ready file of another one for its own. A lower layer with opaque directories hides them, so the upper one starts empty.
_HIDDEN: Final = {"tmp": 0o1777, "run": 0o755, "var/tmp": 0o1777}
_OPAQUE: Final = "trusted.overlay.opaque"


def prepare(config: NodeConfig) -> None:
    """Makes ready for `mount_root`.

    Raises:
        ChrekError: The kernel or the directory cannot do overlays.
    """
    blank = _blank(config)
    blank.mkdir(parents=True, exist_ok=True)
    config.snapshots.mkdir(parents=True, exist_ok=True)
    try:
        # Layers of one overlay must not lie in one another; a file system of its own lies nowhere.
        mounts.mount("tmpfs", blank, "tmpfs", 0, "size=64k,mode=755")
        for name, mode in _HIDDEN.items():
            _hide(blank / name, mode)
        _try_or_use_tmpfs(config)
    except OSError as error:
        hint = "it needs root and a kernel with overlayfs; choose a state directory on a local disk"
        raise ChrekError(f"cannot make overlays in {config.state}: {error}", hint=hint) from error


def mount_root(config: NodeConfig, identifier: str) -> Path:
    """Mounts the container's root file system in its bundle; returns where."""
    upper, work = config.snapshots / identifier / "fs", config.snapshots / identifier / "work"
    root = config.bundle(identifier) / "rootfs"
    for directory in (upper, work, root):
        directory.mkdir(parents=True)
    upper.chmod(0o755)
    options = f"lowerdir={_escaped(_blank(config))}:/,upperdir={_escaped(upper)},workdir={_escaped(work)}"
    mounts.mount("overlay", root, "overlay", 0, options)
    return root


def remove_root(config: NodeConfig, identifier: str) -> None:
    """Takes the container's root file system and bundle away."""
    mounts.unmount(config.bundle(identifier) / "rootfs")
    shutil.rmtree(config.snapshots / identifier, ignore_errors=True)
    shutil.rmtree(config.bundle(identifier), ignore_errors=True)


def _try_or_use_tmpfs(config: NodeConfig) -> None:
    try:
        mount_root(config, "trial")
    except OSError:
        # An overlay cannot be the upper layer of another: in a container the snapshots live in memory.
        mounts.mount("tmpfs", config.snapshots, "tmpfs", 0, "mode=755")
        remove_root(config, "trial")
        mount_root(config, "trial")
    remove_root(config, "trial")


def _hide(directory: Path, mode: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(mode)
    os.setxattr(directory, _OPAQUE, b"y")


def _blank(config: NodeConfig) -> Path:
    return config.run_root / "blank"


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
