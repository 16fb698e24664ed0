"""What shows from outside that this process holds memory that the driver cannot checkpoint: a thread of a certain name."""

from __future__ import annotations

import ctypes
import threading

NAME = "chrek-borrowed"
"""Agents look for it in /proc before they have anything checkpointed."""
_SET_NAME = 15


class Sign:
    """Down at first. Not for several threads at once."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._down = threading.Event()

    def show(self, up: bool) -> None:
        """Is up, or down, when this returns."""
        if up == (self._thread is not None):
            return
        if self._thread is not None:
            self._down.set()
            self._thread.join()
            self._thread = None
            return
        self._down.clear()
        named = threading.Event()
        self._thread = threading.Thread(target=self._stand, args=(named,), name=NAME, daemon=True)
        self._thread.start()
        named.wait()

    def _stand(self, named: threading.Event) -> None:
        libc = ctypes.CDLL(None)
        libc.prctl(_SET_NAME, NAME.encode(), 0, 0, 0)
        named.set()
        self._down.wait()
        # The kernel's thread may be there for a moment after Python's.
        libc.prctl(_SET_NAME, b"chrek-apart", 0, 0, 0)
