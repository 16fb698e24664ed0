"""Internet sockets in CRIU's images, made fit for a pod with another address.

A TCP connection with both its ends in the images needs nothing from outside and goes on; one over the pod's own address is moved to
loopback. The other end of any other connection has given up long before, or talks to the source still: it becomes a socket that is
not connected, as after the peer's reset. A socket that is bound to the pod's own address is bound to all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chrek_agent.criu.images import read_image, write_image
from chrek_agent.criu.wire import BYTES, VARINT, Field, decode, encode

FILES: Final = "files.img"
FILES_MAGIC: Final = 0x56303138
_SOCKET: Final = 4
_PROTOCOL, _STATE, _PORT, _PEER_PORT, _ADDRESS, _PEER_ADDRESS = 5, 6, 7, 8, 11, 12
_TCP: Final = 6
_CLOSED: Final = 7
_LISTENING: Final = 10

Address = tuple[int, ...]
"""As CRIU stores it: one word or four, each in the network's byte order."""
_LOOPBACK: Final = 0x0100007F
_LOOPBACK_6: Final = (0, 0, 0, 1 << 24)
_MAPPED: Final = (0, 0, 0xFFFF << 16)
"""What an IPv4 address begins with in an IPv6 socket."""


@dataclass(frozen=True, slots=True)
class _Socket:
    """An internet socket; `peer` and `peer_port` are zero where there is none."""

    protocol: int
    state: int
    address: Address
    port: int
    peer: Address
    peer_port: int

    @property
    def connected(self) -> bool:
        return self.protocol == _TCP and self.state not in (_CLOSED, _LISTENING)

    @property
    def ends(self) -> tuple[Address, int, Address, int]:
        return _plain(self.address), self.port, _plain(self.peer), self.peer_port

    @property
    def other_ends(self) -> tuple[Address, int, Address, int]:
        return _plain(self.peer), self.peer_port, _plain(self.address), self.port


def settle_sockets(images: Path, *, keep_inner: bool = True) -> None:
    """Rewrites the images in a directory; without `keep_inner` every connection ends. Raises ImageError or OSError."""
    messages = read_image(images / FILES, FILES_MAGIC)
    settled = settle(messages, keep_inner=keep_inner)
    if settled != messages:
        write_image(images / FILES, FILES_MAGIC, settled)


def settle(messages: Sequence[bytes], *, keep_inner: bool = True) -> list[bytes]:
    """The messages of a files image, rewritten; what is no internet socket is not touched. Raises ImageError."""
    sockets = [_socket(message) for message in messages]
    known = {found.ends for found in sockets if found and found.connected} if keep_inner else set()
    return [
        message if found is None else _rewrite(message, _settled(found, inner=found.other_ends in known))
        for message, found in zip(messages, sockets, strict=True)
    ]


def _settled(found: _Socket, *, inner: bool) -> _Socket:
    if not found.connected:
        return found if _is_loopback(found.address) else replace(found, address=_zero(found.address))
    if not inner:
        blank = _zero(found.address)
        return replace(found, state=_CLOSED, address=blank, port=0, peer=blank, peer_port=0)
    if _is_loopback(found.address) and _is_loopback(found.peer):
        return found
    home = _loopback(found.address)
    return replace(found, address=home, peer=home)


def _socket(message: bytes) -> _Socket | None:
    for field in decode(message):
        if field.number == _SOCKET and field.kind == BYTES:
            fields = decode(field.message)
            value = {part.number: part.value for part in fields if isinstance(part.value, int)}
            ends = _words(fields, _ADDRESS), value.get(_PORT, 0), _words(fields, _PEER_ADDRESS), value.get(_PEER_PORT, 0)
            return _Socket(value.get(_PROTOCOL, 0), value.get(_STATE, 0), *ends)
    return None


def _rewrite(message: bytes, wanted: _Socket) -> bytes:
    if wanted == _socket(message):
        return message
    single = {_STATE: wanted.state, _PORT: wanted.port, _PEER_PORT: wanted.peer_port}
    repeated = {_ADDRESS: wanted.address, _PEER_ADDRESS: wanted.peer}
    return encode(
        replace(field, value=encode(_replaced(decode(field.message), single, repeated))) if field.number == _SOCKET else field
        for field in decode(message)
    )


def _replaced(fields: Sequence[Field], single: Mapping[int, int], repeated: Mapping[int, Address]) -> list[Field]:
    words = {number: iter(address) for number, address in repeated.items()}
    found = []
    for field in fields:
        if field.kind == VARINT and field.number in single:
            found.append(replace(field, value=single[field.number]))
        elif field.number in words:
            found.append(replace(field, value=next(words[field.number])))
        else:
            found.append(field)
    return found


def _words(fields: Sequence[Field], number: int) -> Address:
    return tuple(field.integer for field in fields if field.number == number)


def _plain(address: Address) -> Address:
    return address[3:] if address[:3] == _MAPPED else address


def _is_loopback(address: Address) -> bool:
    plain = _plain(address)
    return plain == _LOOPBACK_6 or (len(plain) == 1 and plain[0] & 0xFF == 127)


def _loopback(address: Address) -> Address:
    if address[:3] == _MAPPED:
        return (*_MAPPED, _LOOPBACK)
    return (_LOOPBACK,) if len(address) == 1 else _LOOPBACK_6


def _zero(address: Address) -> Address:
    return (0,) * len(address)
