"""What a container changed in its file systems: the overlay's upper directory and /dev/shm, as tar files.

Taking them is done from outside. Putting them back follows links that the container's image may have set, so that happens in
a process of its own, chrooted into the container (chrek_agent.container.unpack).
"""

import asyncio
import json
import os
import re
import stat
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from chrek_agent.container.discovery import Container
from chrek_agent.errors import CaptureError, RestoreError

_OVERLAY: Final = "trusted.overlay."
_OPAQUE: Final = f"{_OVERLAY}opaque"
XATTR: Final = "SCHILY.xattr."
UNPACK_SECONDS: Final = 600.0
_UNPACK: Final = Path(__file__).with_name("unpack.py")


def upper_directory(container: Container) -> Path:
    """The overlay's upper directory of the container's root.

    Raises:
        CaptureError: The root is no overlay, or that directory is not to be seen from here.
    """
    upper = find_upper(Path(f"/proc/{container.init}/mountinfo").read_text())
    if upper is None:
        raise CaptureError(f"container {container.name} has no overlay root: its changes cannot be found")
    if not upper.is_dir():
        why = "give the agent the container runtime's directory: value agent.runtimeRoots of the chart"
        raise CaptureError(f"what container {container.name} has changed lies in {upper}, which the agent does not see: {why}")
    return upper


def find_upper(mountinfo: str) -> Path | None:
    """The upper directory in a mount table; None when the root is no overlay."""
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if head.split()[4] == "/" and kind == "overlay":
            for option in options.split(","):
                if option.startswith("upperdir="):
                    return Path(option.removeprefix("upperdir="))
    return None


def mount_points(container: Container) -> list[str]:
    """Where other file systems are mounted in the container: volumes, but also single files such as /etc/hosts."""
    lines = Path(f"/proc/{container.init}/mountinfo").read_text().splitlines()
    points = (re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split()[4]) for line in lines)
    return sorted({point for point in points if point != "/"})


def pack_upper(upper: Path, target: Path, mounts: Sequence[str] = ()) -> list[str]:
    """Writes `upper` as a tar, less what lies under `mounts`; blocks.

    Returns:
        What it deletes from the image, relative to the root, in percent encoding: names need not be UTF-8, a manifest is.
    """
    hidden = {upper / point.lstrip("/") for point in mounts}
    deleted: list[str] = []
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for parent, directories, files in os.walk(upper):
            directories[:] = [name for name in directories if Path(parent, name) not in hidden]
            for name in sorted(directories):
                path = Path(parent, name)
                if not path.is_symlink() and _is_opaque(path):
                    deleted.append(_quoted(path, upper))
                _add(tar, path, upper)
            for name in sorted(files):
                path = Path(parent, name)
                if path in hidden:
                    continue
                if _is_whiteout(path):
                    deleted.append(_quoted(path, upper))
                else:
                    _add(tar, path, upper)
    return deleted


def pack_shm(container: Container, target: Path) -> None:
    """Writes the container's /dev/shm as a tar; blocks. CRIU would gzip it at 40 MB/s, and here it does not see it at all."""
    source = container.root / "dev" / "shm"
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        if not source.is_symlink() and source.is_dir() and source.is_mount():
            for path in sorted(source.rglob("*")):
                _add(tar, path, source)


async def unpack(container: Container, *, deleted: Sequence[str], tars: Sequence[tuple[Path, str]], marker: str) -> None:
    """Repeats the source's changes in a fresh container.

    Args:
        container: Where to.
        deleted: Paths to remove first, as `pack_upper` has returned them.
        tars: Each tar and the folder in the container that it is unpacked in.
        marker: A file to create last, that tells a Dynamo worker that it was restored; empty: none.

    Raises:
        RestoreError: With the first thing that went wrong.
    """
    descriptors = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path, _ in tars]
    try:
        order = {
            "root": str(container.root),
            "deleted": [os.fsdecode(unquote_to_bytes(path)) for path in deleted],
            "tars": [[fd, folder] for fd, (_, folder) in zip(descriptors, tars, strict=True)],
            "marker": marker,
            "mounts": mount_points(container),
        }
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-I", "-S", str(_UNPACK)]
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=descriptors)
        try:
            _, errors = await asyncio.wait_for(process.communicate(json.dumps(order).encode()), UNPACK_SECONDS)
        except TimeoutError as error:
            raise RestoreError(f"the root file system's changes could not be repeated within {UNPACK_SECONDS:g} s") from error
        finally:
            if process.returncode is None:  # We are cancelled.
                process.kill()
                await process.wait()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise RestoreError(f"the root file system's changes could not be repeated: {last[0]}")


def _add(tar: tarfile.TarFile, path: Path, top: Path) -> None:
    """Adds a file with its extended attributes, in the form that GNU tar and libarchive use; a socket is left out."""
    if stat.S_ISSOCK(path.lstat().st_mode):
        return
    member = tar.gettarinfo(path, arcname=str(path.relative_to(top)))
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith(_OVERLAY):
            value = os.fsdecode(os.getxattr(path, name, follow_symlinks=False))
            member.pax_headers = {**member.pax_headers, XATTR + name: value}
    if member.isreg():
        with path.open("rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)


def _quoted(path: Path, top: Path) -> str:
    return quote(os.fsencode(path.relative_to(top)))


def _is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, _OPAQUE) == b"y"
    except OSError:
        return False
