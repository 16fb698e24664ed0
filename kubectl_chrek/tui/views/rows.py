"""A checkpoint as a row of the list: its cells, what it is sorted by, what a filter sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import Identity
from kubectl_chrek.ops.formatting import UNKNOWN, human_age, human_bytes, human_seconds
from kubectl_chrek.ops.retention import delete_after
from kubectl_chrek.tui.plain import clean
from kubectl_chrek.tui.views.phases import ORDER, phase_cell, result_cell, shown_phase
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

COLUMNS: Final = (
    Column("namespace", "NAMESPACE", least=9, rank=3),
    Column("name", "NAME", least=14, rank=0),
    Column("model", "MODEL", least=10, rank=1, keep_end=True),
    Column("backend", "BACKEND", least=7, rank=9),
    Column("parallelism", "TP/PP", least=5, rank=10),
    Column("dtype", "DTYPE", least=8, rank=11),
    Column("phase", "PHASE", least=14, rank=2),
    Column("size", "SIZE", least=6, rank=7, right=True),
    Column("unique", "UNIQUE", least=6, rank=14, right=True),
    Column("cold", "COLD", least=5, rank=6, right=True),
    Column("restore", "RESTORE", least=7, rank=5, right=True),
    Column("result", "LAST-RESULT", least=11, rank=12),
    Column("restores", "RESTORES", least=8, rank=13, right=True),
    Column("colds", "COLDS", least=5, rank=15, right=True),
    Column("nodes", "NODES", least=5, rank=16),
    Column("notes", "NOTES", least=5, rank=8),
    Column("age", "AGE", least=5, rank=4, right=True),
)
NONE: Final = Cell("-", Tone.MUTED)


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint, read once for each change. `cells` are those of all columns but AGE, which moves with the clock."""

    checkpoint: Checkpoint
    body: Mapping[str, Any]
    identity: Identity | None
    """None when the object got past no CRD schema."""
    cells: tuple[Cell, ...]
    haystack: str
    """All cells' text, case-folded: what a filter searches."""

    @property
    def key(self) -> str:
        """The UID."""
        return self.checkpoint.metadata.uid

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.checkpoint.metadata.name

    @property
    def namespace(self) -> str:
        """`metadata.namespace`."""
        return self.checkpoint.metadata.namespace

    @property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`."""
        return self.checkpoint.metadata.labels


def read_row(body: Mapping[str, Any]) -> Row:
    """The row of a raw object. An object that cannot be read gets a row too, whose message says why."""
    try:
        checkpoint = read_checkpoint(body)
    except ValidationError as error:
        checkpoint = _unreadable(body, error)
    identity = _identity(checkpoint)
    cells = _cells(checkpoint, identity)
    haystack = "\n".join(cell.text for cell in cells).casefold()
    return Row(checkpoint, body, identity, cells, haystack)


def cells_at(row: Row, now: datetime) -> tuple[Cell, ...]:
    """The cells of all columns, AGE included."""
    return (*row.cells, Cell(human_age(row.checkpoint.metadata.creation_timestamp, now), Tone.MUTED))


def _unreadable(body: Mapping[str, Any], error: ValidationError) -> Checkpoint:
    metadata = body.get("metadata") or {}
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "creationTimestamp") if key in metadata}
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    status = body.get("status")
    phase = status.get("phase") if isinstance(status, Mapping) else None
    message = f"This object cannot be read: {where}: {first['msg']}"
    return read_checkpoint(
        {"metadata": kept, "spec": body.get("spec") or {}, "status": {"phase": str(phase or ""), "message": message}}
    )


def _identity(checkpoint: Checkpoint) -> Identity | None:
    try:
        return checkpoint.identity
    except IdentityError:
        return None


def _cells(checkpoint: Checkpoint, identity: Identity | None) -> tuple[Cell, ...]:
    artifact, last = checkpoint.status.artifact, checkpoint.status.last_restore
    unknown = Cell(UNKNOWN, Tone.MUTED)
    restored = last.seconds if last and last.result == "restored" else 0.0
    return (
        Cell(clean(checkpoint.metadata.namespace)),
        Cell(clean(checkpoint.metadata.name)),
        Cell(clean(identity.model)) if identity else unknown,
        Cell(clean(identity.framework)) if identity else unknown,
        Cell(f"{identity.tensor_parallel_size}/{identity.pipeline_parallel_size}") if identity else unknown,
        (Cell(clean(identity.dtype)) if identity.dtype else NONE) if identity else unknown,
        phase_cell(checkpoint),
        Cell(human_bytes(artifact.bytes)) if artifact and artifact.bytes > 0 else NONE,
        Cell(human_bytes(artifact.unique_bytes)) if artifact and artifact.unique_bytes is not None else NONE,
        _seconds(artifact.cold_start_seconds if artifact else 0.0),
        _seconds(restored),
        result_cell(checkpoint),
        _count(checkpoint.status.restores),
        _count(checkpoint.status.cold_starts),
        _nodes(checkpoint),
        _notes(checkpoint),
    )


def _count(number: int) -> Cell:
    return Cell(str(number)) if number else NONE


def _nodes(checkpoint: Checkpoint) -> Cell:
    """Where it was captured and where it is cached: how many when there is no room for all."""
    artifact = checkpoint.status.artifact
    nodes = dict.fromkeys(
        [*([artifact.node] if artifact and artifact.node else []), *(copy.node for copy in checkpoint.status.caches)]
    )
    if not nodes:
        return NONE
    return Cell(
        clean(",".join(nodes)), shorter=(clean(f"{next(iter(nodes))}+{len(nodes) - 1}"), str(len(nodes))) if len(nodes) > 1 else ()
    )


def _notes(checkpoint: Checkpoint) -> Cell:
    """What somebody has asked for: that it stays, that it goes, that it is read back."""
    due, verification = delete_after(checkpoint), checkpoint.status.verification
    if due is not None:
        return Cell(f"⌫ at {due:%H:%M}", Tone.WARNING)
    if verification and verification.result == "corrupt":
        return Cell("✗ corrupt", Tone.BAD)
    if verification and verification.result == "running":
        return Cell("◐ verifying", Tone.BUSY)
    return Cell("◆ pinned") if checkpoint.pinned else NONE


def _seconds(seconds: float) -> Cell:
    return Cell(human_seconds(seconds)) if seconds > 0 else NONE


# -- sorting -------------------------------------------------------------------------------------------------


def _by_age(row: Row) -> float | None:
    created = row.checkpoint.metadata.creation_timestamp
    return None if created is None else -created.timestamp()


def _by_size(row: Row) -> int | None:
    return row.checkpoint.status.artifact.bytes if row.checkpoint.status.artifact else None


def _by_phase(row: Row) -> int:
    phase = shown_phase(row.checkpoint)
    return ORDER.index(phase) if phase in ORDER else len(ORDER)


def _by_name(row: Row) -> str:
    return row.name


SORTS: Final[dict[str, Callable[[Row], Any]]] = {"name": _by_name, "age": _by_age, "size": _by_size, "phase": _by_phase}
"""By column, the value that rows are sorted by; None means that a row has none and goes last."""
LARGEST_FIRST: Final = frozenset({"size"})
"""Columns whose first sort is the descending one."""


def sort_rows(rows: list[Row], column: str, *, descending: bool) -> list[Row]:
    """Rows in the order of a column's values; equal ones by namespace and name, those without a value last."""
    value = SORTS[column]
    ordered = sorted(rows, key=lambda row: (row.namespace, row.name))
    known = [(found, row) for row in ordered if (found := value(row)) is not None]
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + [row for row in ordered if value(row) is None]
