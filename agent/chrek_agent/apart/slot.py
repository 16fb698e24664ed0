"""The worker's memory that a connection moves pieces by, and the connection's course."""

import fcntl
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, Final

from chrek_agent.apart.channel import ApartError, Peer, close_all

SLOT: Final = 16 << 20
"""The most that a slot may hold."""
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

Call = Callable[[dict[str, Any], list[int]], None]
"""Does what a message asks for; gets the message, and the descriptors of the slot that was handed over last."""


class Slot:
    """Memory of the worker's, by its descriptor: a file in memory whose size can never change."""

    def __init__(self, descriptors: list[int]) -> None:
        if len(descriptors) != 1:
            raise ApartError("a slot is one descriptor")
        self.descriptor = descriptors[0]
        status = os.fstat(self.descriptor)
        try:
            sealed = fcntl.fcntl(self.descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        except OSError:
            sealed = False
        if not sealed or not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= SLOT:
            raise ApartError("a slot is a sealed file in memory of 16 MiB at most")
        self.size = status.st_size


def converse(peer: Peer, calls: Mapping[str, Call], *, acknowledge: bool) -> None:
    """One connection, until it ends; raises what ends it, and closes what it has handed over.

    Args:
        peer: The worker's end.
        calls: What may be asked for; `slot` need not be among them.
        acknowledge: Each call is answered with a plain yes; otherwise they answer for themselves.
    """
    slot: list[int] = []
    try:
        while True:
            message, descriptors = peer.receive()
            what = str(message.get("do"))
            if what == "slot":
                close_all(slot)
                slot = descriptors
                Slot(slot)
            else:
                close_all(descriptors)
                if what not in calls:
                    raise ApartError("this is no time for that")
                calls[what](message, slot)
            if acknowledge or what == "slot":
                peer.send({"ok": True})
    finally:
        close_all(slot)
