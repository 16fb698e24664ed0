"""Run as a program: repeats a source's file system changes inside a container, from a JSON order on standard input.

Standard library only and run without site-packages: it starts in 30 ms. Everything is imported before the chroot.
"""

import contextlib
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import IO

XATTR = "SCHILY.xattr."


def main() -> None:
    """Reads the order, enters the container's root and does it; what goes wrong is said in one line."""
    order = json.load(sys.stdin)
    files = [(os.fdopen(descriptor, "rb"), folder) for descriptor, folder in order["tars"]]
    # Names of owners are looked up by tarfile on first use; the container's files must not be asked.
    tarfile.pwd = tarfile.grp = None  # type: ignore[attr-defined]
    os.chroot(order["root"])
    os.chdir("/")
    mounts = [Path(point) for point in order["mounts"]]
    try:
        for path in order["deleted"]:
            _remove(Path("/", path), mounts)
        for file, folder in files:
            _extract(file, folder, [point for point in mounts if Path(folder) in point.parents])
        if order["marker"]:
            Path(order["marker"]).touch()
    except (OSError, tarfile.TarError) as error:
        # No traceback: for its source lines Python would open files of the container.
        sys.exit(f"{type(error).__name__}: {error}")


def _extract(file: IO[bytes], folder: str, mounts: list[Path]) -> None:
    """Unpacks one tar; what lies under a mount of the container is not the source's to change."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        # It is our own tar, and the chroot is the limit; 3.14 would otherwise refuse absolute links and drop setuid bits.
        tar.extraction_filter = lambda member, _: member
        for member in tar:
            path = Path(folder, member.name)
            if not any(point == path or point in path.parents for point in mounts):
                _clear(path, member, mounts)
                tar.extract(member, folder, numeric_owner=True)
                _set_attributes(path, member)


def _set_attributes(path: Path, member: tarfile.TarInfo) -> None:
    """Extended attributes, such as a program's capabilities; a file system that has none is no reason to fail."""
    for name, value in member.pax_headers.items():
        if name.startswith(XATTR):
            with contextlib.suppress(OSError):
                os.setxattr(path, name.removeprefix(XATTR), os.fsencode(value), follow_symlinks=False)


def _clear(path: Path, member: tarfile.TarInfo, mounts: list[Path]) -> None:
    """Makes room: a file takes the place of what is there; a directory only that of a file."""
    if path.is_symlink() or (path.exists() and not (path.is_dir() and member.isdir())):
        _remove(path, mounts)


def _remove(path: Path, mounts: list[Path]) -> None:
    """Removes the path, but no mount at, above or below it: to unlink a mount's place from outside would unmount it."""
    if any(point == path or point in path.parents for point in mounts):
        return
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif any(path in point.parents for point in mounts):
        for entry in list(path.iterdir()):
            _remove(entry, mounts)
    else:
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
