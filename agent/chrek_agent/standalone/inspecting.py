"""What is in an artifact's CRIU images, for people: processes, memory, files and sockets. Values of variables are never shown."""

import ipaddress
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.criu.images import read_image
from chrek_agent.criu.mappings import Mapping, read_mappings
from chrek_agent.criu.wire import Field, decode, numbers

_PSTREE_MAGIC: Final = 0x50273030
_CORE_MAGIC: Final = 0x55053847
_FILES_MAGIC: Final = 0x56303138
_CORE_TASK, _TASK_NAME = 3, 6
_REGULAR, _INTERNET, _UNIX = 3, 4, 16
_KINDS: Final = {
    1: "file", 2: "pipe", 3: "fifo", 4: "socket", 5: "unix socket", 6: "eventfd", 7: "epoll", 8: "inotify", 9: "signalfd",
    10: "packet socket", 11: "terminal", 12: "fanotify", 13: "netlink", 14: "namespace", 16: "external", 17: "timerfd",
    18: "memfd", 20: "pidfd",
}  # fmt: skip
_STATES: Final = {1: "established", 7: "closed", 8: "close-wait", 10: "listening"}
_TCP, _UDP = 6, 17


@dataclass(frozen=True, slots=True)
class ProcessImage:
    """One process; PIDs are the container's, sizes are in bytes of address space."""

    pid: int
    parent: int
    name: str
    threads: int
    anonymous: int
    shared: int
    mapped: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a tree holds. `kinds` counts its open files by kind."""

    processes: list[ProcessImage]
    files: list[str]
    sockets: list[str]
    kinds: dict[str, int]


def read_contents(images: Path) -> Contents:
    """Reads the images in a directory. Raises ImageError, or OSError."""
    tree = [decode(message) for message in read_image(images / "pstree.img", _PSTREE_MAGIC)]
    files = [decode(message) for message in read_image(images / "files.img", _FILES_MAGIC)]
    kinds = Counter(_KINDS.get(numbers(fields).get(1, 0), "other") for fields in files)
    sockets = [_socket(field.message) for fields in files for field in fields if field.number == _INTERNET]
    sockets += [_unix(field.message) for fields in files for field in fields if field.number == _UNIX]
    paths = [_path(field.message) for fields in files for field in fields if field.number == _REGULAR]
    processes = [_process(images, fields) for fields in tree]
    return Contents(processes, sorted(set(paths)), sorted(sockets), dict(sorted(kinds.items())))


def _process(images: Path, fields: Sequence[Field]) -> ProcessImage:
    values = numbers(fields)
    pid = values.get(1, 0)
    mappings = read_mappings(images / f"mm-{pid}.img") if (images / f"mm-{pid}.img").exists() else []
    return ProcessImage(
        pid=pid,
        parent=values.get(2, 0),
        name=_name(images / f"core-{pid}.img"),
        threads=max(1, _count(fields, 5)),
        anonymous=sum(mapping.length for mapping in mappings if _kind(mapping) == "anonymous"),
        shared=sum(mapping.length for mapping in mappings if _kind(mapping) == "shared"),
        mapped=sum(mapping.length for mapping in mappings if _kind(mapping) == "file"),
    )


def _kind(mapping: Mapping) -> str:
    if mapping.anonymous_shared:
        return "shared"
    return "anonymous" if mapping.flags & 0x20 else "file"


def _count(fields: Sequence[Field], number: int) -> int:
    """How often a repeated number occurs; in its packed form all occurrences are in one field."""
    found = [field for field in fields if field.number == number]
    return sum(1 if isinstance(field.value, int) else sum(byte < 0x80 for byte in field.value) for field in found)


def _name(core: Path) -> str:
    if not core.exists():
        return ""  # A process that was dead already.
    cores = read_image(core, _CORE_MAGIC)
    task = next((field.message for message in cores for field in decode(message) if field.number == _CORE_TASK), b"")
    return next((_text(field) for field in decode(task) if field.number == _TASK_NAME), "")


def _path(message: bytes) -> str:
    return next((_text(field) for field in decode(message) if field.number == 6), "")


def _socket(message: bytes) -> str:
    fields = decode(message)
    values = numbers(fields)
    protocol = {_TCP: "tcp", _UDP: "udp"}.get(values.get(5, 0), str(values.get(5, 0)))
    here = f"{_address(fields, 11)}:{values.get(7, 0)}"
    state = _STATES.get(values.get(6, 0), str(values.get(6, 0))) if protocol == "tcp" else ""
    there = f" -> {_address(fields, 12)}:{values[8]}" if values.get(8) else ""
    return f"{protocol} {here}{there} {state}".rstrip()


def _address(fields: Sequence[Field], number: int) -> str:
    words = [field.value for field in fields if field.number == number]
    packed = b"".join(struct.pack("<I", word) for word in words if isinstance(word, int)) or _unpacked(words)
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else "*"


def _unpacked(words: Sequence[int | bytes]) -> bytes:
    """Of a packed repeated field of varints."""
    found, value, shift = [], 0, 0
    for byte in b"".join(word for word in words if isinstance(word, bytes)):
        value, shift = value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            found.append(value)
            value, shift = 0, 0
    return b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in found)


def _unix(message: bytes) -> str:
    name = next((field.value for field in decode(message) if field.number == 9), b"")
    text = name.decode(errors="replace") if isinstance(name, bytes) else ""
    return f"unix {text.replace(chr(0), '@').rstrip('@') or '(unnamed)'}"


def _text(field: Field) -> str:
    return field.message.decode(errors="replace").rstrip("\0")
