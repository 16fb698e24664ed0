"""Who a container's unix sockets talk to: the kernel's socket diagnosis, asked with the container's network namespace."""

import ctypes
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

_SOCK_DIAG: Final = 4
_DIAG_BY_FAMILY: Final = 20
_DONE, _ERROR = 3, 2
_DUMP: Final = 0x301
_SHOW_PEER: Final = 4
_PEER: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBHIIIII")
_ANSWER: Final = struct.Struct("=BBBBIII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def unix_peers(init: int) -> dict[int, int]:
    """Inode of each connected unix socket in the network namespace of `init` -> inode of its peer; 0 before it is accepted.

    Raises:
        OSError: The kernel does not answer.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:  # A thread of its own: it stays in the namespace that it has entered.
        return pool.submit(_ask, Path(f"/proc/{init}/ns/net")).result()


def _ask(namespace: Path) -> dict[int, int]:
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        if _LIBC.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as link:
        request = _REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_PEER, 0, 0)
        link.settimeout(5)
        link.send(_HEADER.pack(_HEADER.size + len(request), _DIAG_BY_FAMILY, _DUMP, 1, 0) + request)
        found: dict[int, int] = {}
        while _read(link.recv(1 << 16), found):
            pass
    return found


def _read(packet: bytes, found: dict[int, int]) -> bool:
    """Notes the sockets of one packet; False after the last."""
    position = 0
    while position < len(packet):
        length, kind, *_ = _HEADER.unpack_from(packet, position)
        if kind == _ERROR:
            raise OSError("the kernel refuses to tell about unix sockets")
        if kind == _DONE:
            return False
        _, _, _, _, inode, _, _ = _ANSWER.unpack_from(packet, position + _HEADER.size)
        place, end = position + _HEADER.size + _ANSWER.size, position + length
        while place + _ATTRIBUTE.size <= end:
            size, attribute = _ATTRIBUTE.unpack_from(packet, place)
            if attribute == _PEER:
                found[inode] = struct.unpack_from("=I", packet, place + _ATTRIBUTE.size)[0]
            place += max(_ATTRIBUTE.size, (size + 3) & ~3)
        position += (length + 3) & ~3
    return True
