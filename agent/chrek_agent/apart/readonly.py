"""Files for a container's processes to read: by descriptors that cannot be opened again for writing, as /proc otherwise allows."""

import ctypes
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_OPEN_TREE: Final = 428
_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_CLONE: Final = 1
_READ_ONLY: Final = 1 | 2 | 4 | 8
"""And no set-user-ID, no devices, no execution."""


class _Attributes(ctypes.Structure):
    """The kernel's struct mount_attr."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace"))


class ReadOnly:
    """A directory by a mount of its own, that is read-only and nowhere to be seen. Raises OSError where there is no such thing."""

    def __init__(self, directory: Path) -> None:
        path = os.fsencode(directory)
        self._tree = _LIBC.syscall(_OPEN_TREE, _AT_FDCWD, ctypes.c_char_p(path), ctypes.c_uint(_CLONE | os.O_CLOEXEC))
        if self._tree < 0:
            raise OSError(ctypes.get_errno(), "open_tree")
        wanted = _Attributes(set=_READ_ONLY)
        size = ctypes.c_size_t(ctypes.sizeof(wanted))
        if _LIBC.syscall(_MOUNT_SETATTR, self._tree, b"", ctypes.c_uint(_AT_EMPTY_PATH), ctypes.byref(wanted), size) != 0:
            error = ctypes.get_errno()
            os.close(self._tree)
            raise OSError(error, "mount_setattr")

    def open(self, name: str) -> int:
        """A descriptor of a plain file in it, which outlives the mount. Raises OSError."""
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._tree)

    def close(self) -> None:
        """Ends the mount."""
        os.close(self._tree)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
