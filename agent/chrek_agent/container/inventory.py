"""`inspect.json` of an artifact: what a worker's processes held when they were frozen. Sizes are in bytes, PIDs the container's.

The checkpoint's status gets a summary of it that stays small however large the worker is.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from pydantic import Field, ValidationError

from chrek_agent.errors import ArtifactError
from chrek_agent.store.model import Strict

FILE: Final = "inspect.json"
FORMAT: Final = 1

ANONYMOUS: Final = "anonymous"
FILES: Final = "file"
SHARED: Final = "shared"
HUGE: Final = "huge"
RESERVED: Final = "reserved"
"""Address space that nobody may touch yet."""

SUMMARY_BYTES: Final = 6 << 10
"""The most that the status's `inventory` takes, as JSON."""
_COMMAND: Final = 160
_KIND: Final = 24
_KINDS: Final = 12
_LISTED: Final = 64


class OpenFile(Strict):
    """One descriptor. `kind` is file, directory, device, pipe, memfd, tcp, udp, unix, socket, or the name of an anonymous inode."""

    number: int
    kind: str
    target: str
    """A path, or addresses: `0.0.0.0:8000`, `127.0.0.1:5 -> 10.0.0.2:443`, `@abstract`."""
    state: str = ""
    """Of a socket: listening, established, ..."""


class ProcessRecord(Strict):
    """One process."""

    pid: int
    parent: int
    name: str
    threads: int
    command: list[str]
    """Secrets are masked."""
    resident: dict[str, int]
    """Memory that it held, by kind."""
    mapped: dict[str, int]
    """Address space, by kind."""
    mappings: int
    files: list[OpenFile]
    variables: list[str]
    """Names only."""
    values: dict[str, str]
    """Of those variables that engines read as flags."""


class Inventory(Strict):
    """All processes, parents first."""

    format: int = FORMAT
    processes: list[ProcessRecord] = Field(default_factory=list)


def dump_inventory(inventory: Inventory) -> bytes:
    """As it is stored."""
    return inventory.model_dump_json(indent=1).encode()


def parse_inventory(content: bytes) -> Inventory:
    """The inventory in these bytes. Raises ArtifactError if there is none."""
    try:
        return Inventory.model_validate_json(content)
    except ValidationError:
        raise ArtifactError(f"{FILE} of the artifact is of another version") from None


def summarise(inventory: Inventory, limit: int = SUMMARY_BYTES) -> dict[str, Any]:
    """`status.artifact.inventory`: at most `limit` bytes of JSON; `omitted` counts what was left out, by list."""
    processes = inventory.processes
    opened = [file for process in processes for file in process.files]
    sockets = sorted({_socket(file) for file in opened if file.kind in ("tcp", "udp", "unix")}, key=_listeners_first)
    candidates: dict[str, list[Any]] = {
        "processes": [_line(process) for process in processes],
        "sockets": [text[:_COMMAND] for text in sockets],
        "variables": sorted({name[:_COMMAND] for process in processes for name in process.variables}),
        "files": sorted({file.target[:_COMMAND] for file in opened if file.kind in ("file", "directory", "device", "memfd")}),
    }
    summary: dict[str, Any] = {
        "processCount": len(processes),
        "resident": _total(process.resident for process in processes),
        "mapped": _total(process.mapped for process in processes),
        "openFiles": dict(sorted(Counter(file.kind[:_KIND] for file in opened).most_common(_KINDS))),
    }
    omitted = {}
    for name, found in candidates.items():
        # Each list may take what is left by those before it, but no more than half of that: the next has its share.
        room = (limit - _size(summary) - 128) // (1 if name == "files" else 2)
        summary[name] = taken = _fitting(found[:_LISTED], room)
        if len(found) > len(taken):
            omitted[name] = len(found) - len(taken)
    return summary | {"omitted": omitted}


def _line(process: ProcessRecord) -> dict[str, Any]:
    command = " ".join(process.command) or process.name
    cut = command if len(command) <= _COMMAND else f"{command[: _COMMAND - 3]}..."
    return {"pid": process.pid, "parent": process.parent, "command": cut, "resident": process.resident, "files": len(process.files)}


def _socket(file: OpenFile) -> str:
    return f"{file.kind} {file.target} {file.state}".rstrip()


def _listeners_first(text: str) -> tuple[bool, bool, str]:
    return not text.endswith(" listening"), text.startswith("unix "), text


def _total(sizes: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in sizes:
        total.update(each)
    return dict(sorted(total.items()))


def _fitting(found: list[Any], room: int) -> list[Any]:
    taken = []
    for item in found:
        room -= _size(item) + 2
        if room < 0:
            break
        taken.append(item)
    return taken


def _size(value: object) -> int:
    return len(json.dumps(value).encode())
