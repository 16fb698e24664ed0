"""What an agent has under way, on disk, so that its death loses nothing: one file for each operation, and how to undo it.

Standard library only: the guardian, which outlives a killed agent, starts with nothing else.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from chrek_agent import control, processes
from chrek_agent.container import Container
from chrek_agent.errors import AgentError

LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation. PIDs are the host's; each stands with its start time, so that a number used again is not mistaken."""

    kind: Literal["capture", "restore"]
    agent: int
    agent_start: int
    container: str
    name: str
    init: int
    init_start: int
    staging: str = ""
    group: int = 0
    """CRIU's process group, 0 before it runs."""
    group_start: int = 0


class Record:
    """An operation's entry on disk."""

    def __init__(self, path: Path, entry: Entry) -> None:
        self._path = path
        self._entry = entry
        self._write()

    def staged(self, staging: Path) -> None:
        """Notes where a capture is written."""
        self._entry = replace(self._entry, staging=str(staging))
        self._write()

    def criu_started(self, group: int) -> None:
        """Notes CRIU's process group."""
        process = processes.read_process(group)
        self._entry = replace(self._entry, group=group, group_start=process.start if process else 0)
        self._write()

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self._entry)))
        temporary.replace(self._path)


@contextmanager
def record(
    directory: Path, kind: Literal["capture", "restore"], container: Container, staging: Path | None = None
) -> Iterator[Record]:
    """Keeps an entry while the block runs; however it ends, its own clean-up has been done by then."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    me = processes.read_process(os.getpid())
    entry = Entry(
        kind=kind,
        agent=os.getpid(),
        agent_start=me.start if me else 0,
        container=container.id,
        name=container.name,
        init=container.init,
        init_start=container.init_start,
    )
    path = directory / f"{secrets.token_hex(8)}.json"
    try:
        yield Record(path, entry)
    finally:
        path.unlink(missing_ok=True)


def recover(directory: Path) -> int:
    """Undoes what dead agents left half done; returns how many operations. Entries of living agents are left alone."""
    count = 0
    for path in sorted(directory.glob("*.json")):
        try:
            entry = Entry(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if processes.is_same(entry.agent, entry.agent_start):
            continue
        LOG.warning("undoing a %s of container %s: its agent died", entry.kind, entry.container[:12])
        undo(entry)
        path.unlink(missing_ok=True)
        count += 1
    return count


def undo(entry: Entry) -> None:
    """Ends CRIU; lets a captured worker go on and removes its staging; ends a half-restored worker, so that its pod starts cold."""
    if entry.group and processes.is_same(entry.group, entry.group_start):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(entry.group, signal.SIGKILL)
    if processes.is_same(entry.init, entry.init_start):
        if entry.kind == "capture":
            processes.resume(entry.init)
        else:
            _undo_restore(entry)
    if entry.staging:
        shutil.rmtree(entry.staging, ignore_errors=True)


def _undo_restore(entry: Entry) -> None:
    container = Container(entry.container, entry.name, entry.init, entry.init_start, ())
    members = processes.namespace_members(entry.init)
    try:
        first = control.decide(container, {"result": "cold", "reason": "the agent died during the restore"})
        outcome = control.read(container, control.OUTCOME) or {}
    except (AgentError, OSError):
        first, outcome = True, {}
    if not first and outcome.get("result") == "restored":
        processes.resume(entry.init)
    else:
        processes.kill_restored(entry.init, members, shim_decided=not first)
