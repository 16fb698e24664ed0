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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from chrek_agent.container import control, processes, stopped
from chrek_agent.container.discovery import Container
from chrek_agent.container.ending import end_half_restored
from chrek_agent.container.thaw import thaw, wake
from chrek_agent.cuda.hugepages import turn_back
from chrek_agent.cuda.rescue import give_back
from chrek_agent.errors import AgentError

LOG: Final = logging.getLogger(__name__)

Kind = Literal["capture", "restore"]

STEPS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "capture": ("inspect", "stage", "dump", "memory", "rootfs", "commit", "verify", "publish", "release"),
    "restore": ("skeleton", "rootfs", "criu", "fill", "resume", "wake"),
}
"""What an operation goes through, in order. An agent may be killed at any of them: the kill matrix of the tests is made from this,
so a new step is put in here and nowhere else."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation. PIDs are the host's; each stands with its start time, so that a number used again is not mistaken."""

    kind: Kind
    agent: int
    agent_start: int
    container: str
    name: str
    init: int
    init_start: int
    step: str = ""
    """The step that has begun, one of STEPS; empty before the first."""
    staging: tuple[str, ...] = ()
    """Directories that are its own, to be removed if it does not end by itself."""
    group: int = 0
    """CRIU's process group, 0 before it runs."""
    group_start: int = 0
    huge_pages: str = ""
    """The node's switch for huge pages, which said `madvise`, if it was turned for this operation."""


class Record:
    """An operation's entry on disk."""

    def __init__(self, path: Path, entry: Entry) -> None:
        self._path = path
        self._entry = entry
        self._write()

    def step(self, name: str) -> None:
        """Notes that a step begins. Raises ValueError for a name that is not among STEPS."""
        STEPS[self._entry.kind].index(name)
        self._entry = replace(self._entry, step=name)
        self._write()

    def staged(self, directory: Path) -> None:
        """Notes a directory that the operation is about to make for itself."""
        self._entry = replace(self._entry, staging=(*self._entry.staging, str(directory)))
        self._write()

    def criu_started(self, group: int) -> None:
        """Notes CRIU's process group."""
        process = processes.read_process(group)
        self._entry = replace(self._entry, group=group, group_start=process.start if process else 0)
        self._write()

    def turned(self, switch: Path) -> None:
        """Notes that the node's switch for huge pages is about to be turned."""
        self._entry = replace(self._entry, huge_pages=str(switch))
        self._write()

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self._entry)))
        temporary.replace(self._path)


@contextmanager
def record(directory: Path, kind: Kind, container: Container) -> Iterator[Record]:
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
        LOG.warning(
            "undoing a %s of container %s at step %s: its agent died", entry.kind, entry.container[:12], entry.step or "none"
        )
        undo(entry)
        path.unlink(missing_ok=True)
        count += 1
    return count


def undo(entry: Entry) -> None:
    """Ends CRIU; lets a captured worker go on and removes its staging; ends a half-restored worker, so that its pod starts cold."""
    if entry.group and processes.is_same(entry.group, entry.group_start):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(entry.group, signal.SIGKILL)
    if entry.huge_pages:
        turn_back(Path(entry.huge_pages))
    if processes.is_same(entry.init, entry.init_start):
        if entry.kind == "capture":
            thaw(entry.init)
            give_back(processes.beside(entry.init))
        else:
            _undo_restore(entry)
    for directory in map(Path, entry.staging):
        shutil.rmtree(directory, ignore_errors=True)
        for partial in directory.parent.glob(f"{processes.mark(entry.agent, entry.agent_start)}-*"):
            partial.unlink(missing_ok=True)


def _undo_restore(entry: Entry) -> None:
    container = Container(entry.container, entry.name, entry.init, entry.init_start, ())
    with contextlib.suppress(AgentError):
        if (control.read(container, control.OUTCOME) or {}).get("result") == "restored":
            noted = [path for directory in map(Path, entry.staging) for path in directory.glob(f"*/*/{stopped.FILE}")]
            wake(entry.init, frozenset[int]().union(*map(stopped.load, noted)))
            return
    end_half_restored(container)
    with contextlib.suppress(AgentError, OSError):
        control.decide(container, {"result": "cold", "reason": "the agent died during the restore"})
