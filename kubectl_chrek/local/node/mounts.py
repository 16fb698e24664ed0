"""mount(2) and umount(2), without a process for each."""

import ctypes
import os
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
MS_RDONLY: Final = 1
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
_MNT_DETACH: Final = 2


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mounts; OSError with the kernel's reason otherwise."""
    result = _LIBC.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode())
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def unmount(target: Path) -> None:
    """Takes the topmost mount off `target` as soon as nobody uses it; nothing happens when there is none."""
    _LIBC.umount2(os.fsencode(target), _MNT_DETACH)


def mounted_below(directory: Path) -> list[Path]:
    """Mount points in `directory`, the innermost first."""
    prefix = f"{directory}/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        path = line.split()[4].encode().decode("unicode_escape")
        if f"{path}/".startswith(prefix):
            found.append(Path(path))
    return found[::-1]


def unmount_below(directory: Path) -> None:
    """Takes off all mounts in `directory`."""
    for path in mounted_below(directory):
        unmount(path)
