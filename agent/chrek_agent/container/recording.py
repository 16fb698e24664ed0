"""Reads from /proc what the processes of a frozen worker hold. Blocks; what cannot be read is left out: it decides nothing."""

import ipaddress
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.container.inventory import ANONYMOUS, FILES, HUGE, RESERVED, SHARED, Inventory, OpenFile, ProcessRecord
from chrek_agent.container.masking import mask
from chrek_agent.node import facts

_RESIDENT: Final = {"RssAnon": ANONYMOUS, "RssFile": FILES, "RssShmem": SHARED, "HugetlbPages": HUGE}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_INODE: Final = re.compile(r"socket:\[(\d+)\]")
_TCP_STATES: Final = {
    1: "established", 2: "syn-sent", 3: "syn-received", 4: "fin-wait-1", 5: "fin-wait-2", 6: "time-wait", 7: "closed",
    8: "close-wait", 9: "last-ack", 10: "listening", 11: "closing",
}  # fmt: skip
_ACCEPTS: Final = 0x10000
_CONNECTED: Final = 3

Socket = tuple[str, str, str]
"""Kind, address and state."""


def record(worker: Sequence[processes.Process]) -> Inventory:
    """What these processes hold: one tree in one network namespace, parents first."""
    inner = {process.pid: process.inner for process in worker}
    sockets = _sockets(worker[0].pid) if worker else {}
    return Inventory(processes=[_process(process, inner.get(process.parent, 1), sockets) for process in worker])


def _process(process: processes.Process, parent: int, sockets: Mapping[int, Socket]) -> ProcessRecord:
    home = processes.PROC / str(process.pid)
    status = _status(home)
    mapped, mappings = _mapped(home)
    resident = {kind: _kibibytes(status.get(name, "0")) for name, kind in _RESIDENT.items()}
    return ProcessRecord(
        pid=process.inner,
        parent=parent,
        name=process.name,
        threads=int(status.get("Threads", "1")),
        command=mask(facts.argv(process.pid) or []),
        resident={kind: size for kind, size in resident.items() if size},
        mapped=mapped,
        mappings=mappings,
        files=sorted(_files(home, sockets), key=lambda file: file.number),
        variables=_variables(home),
        values=facts.env_flags(process.pid) or {},
    )


def _status(home: Path) -> dict[str, str]:
    with suppress(OSError):
        lines = (home / "status").read_text(errors="replace").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _kibibytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * 1024


def _mapped(home: Path) -> tuple[dict[str, int], int]:
    """Bytes of address space by kind, and the number of mappings."""
    sizes: dict[str, int] = {}
    count = 0
    with suppress(OSError), (home / "maps").open(errors="replace") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            start, _, end = fields[0].partition("-")
            kind = _kind(fields[1], fields[4], fields[5].strip() if len(fields) > 5 else "")
            sizes[kind] = sizes.get(kind, 0) + int(end, 16) - int(start, 16)
            count += 1
    return dict(sorted(sizes.items())), count


def _kind(access: str, inode: str, path: str) -> str:
    if "hugepage" in path:
        return HUGE
    if access.startswith("---"):
        return RESERVED
    if access.endswith("s"):
        return SHARED
    return ANONYMOUS if inode == "0" else FILES


def _variables(home: Path) -> list[str]:
    """Names alone; a process may have written anything over its environment, so that what is no name is passed over."""
    with suppress(OSError):
        words = (home / "environ").read_bytes().split(b"\0")
        names = (word.partition(b"=")[0].decode(errors="replace") for word in words if b"=" in word)
        return sorted({name for name in names if _NAME.fullmatch(name)})
    return []


def _files(home: Path, sockets: Mapping[int, Socket]) -> Iterator[OpenFile]:
    try:
        numbers = os.listdir(home / "fd")  # noqa: PTH208 - a worker may hold thousands
    except OSError:
        return
    for number in numbers:
        with suppress(OSError):
            path = home / "fd" / number
            target = os.readlink(path)  # noqa: PTH115 - a plain string is enough
            kind, shown, state = _opened(path, target, sockets)
            yield OpenFile(number=int(number), kind=kind, target=shown, state=state)


def _opened(path: Path, target: str, sockets: Mapping[int, Socket]) -> Socket:
    match = _INODE.fullmatch(target)
    if match:
        return sockets.get(int(match[1]), ("socket", target, ""))
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]"), "", ""
    if target.startswith("/memfd:"):
        return "memfd", target, ""
    if target.startswith("pipe:"):
        return "pipe", target, ""
    if target.startswith("/dev/"):
        return "device", target, ""
    return ("directory" if path.is_dir() else "file"), target, ""


def _sockets(pid: int) -> dict[int, Socket]:
    """The sockets in the network namespace of a process, by inode."""
    net = processes.PROC / str(pid) / "net"
    found: dict[int, Socket] = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for fields in _rows(net / name):
            here, there = _address(fields[1]), _address(fields[2])
            connected = not fields[2].endswith(":0000")
            state = _TCP_STATES.get(int(fields[3], 16), "") if name.startswith("tcp") else ""
            found[int(fields[9])] = name[:3], f"{here} -> {there}" if connected else here, state
    for fields in _rows(net / "unix"):
        state = "listening" if int(fields[3], 16) & _ACCEPTS else "connected" if int(fields[5], 16) == _CONNECTED else ""
        found[int(fields[6])] = "unix", " ".join(fields[7:]) or "(unnamed)", state
    return found


def _rows(path: Path) -> Iterator[list[str]]:
    with suppress(OSError, ValueError, IndexError), path.open(errors="replace") as lines:
        next(lines, None)
        for line in lines:
            yield line.split()


def _address(text: str) -> str:
    """The kernel writes an address as words in this machine's order."""
    address, _, port = text.partition(":")
    words = [int(address[place : place + 8], 16) for place in range(0, len(address), 8)]
    found = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    return f"{f'[{found}]' if found.version == 6 else found}:{int(port, 16)}"
