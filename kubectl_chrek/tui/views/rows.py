"""A checkpoint as a row of the list: its cells, and the few values that the list needs at hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from kubectl_chrek.api.identity import Identity
from kubectl_chrek.ops.formatting import human_age
from kubectl_chrek.tui.views import packing
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

if TYPE_CHECKING:
    from kubectl_chrek.api.checkpoint import Checkpoint

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
PHASE: Final = [column.id for column in COLUMNS].index("phase")
NOTES: Final = [column.id for column in COLUMNS].index("notes")


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint, read once for each change. `cells` are those of all columns but AGE, which moves with the clock.

    The object itself is kept packed: ten thousand of them as dicts take ten times the memory, and the garbage collector half a
    second for each of its walks.
    """

    key: str
    """The UID."""
    namespace: str
    name: str
    labels: Mapping[str, str]
    phase: str
    """As it is shown."""
    created: datetime | None
    size: int | None
    """Bytes of its artifact; None: there is none."""
    capturing: bool
    """It has progress, and no artifact yet."""
    message: str
    """Why the last attempt failed, or else what the operator says."""
    identity: Identity | None
    """None when the object got past no CRD schema."""
    cells: tuple[Cell, ...]
    haystack: str
    """All cells' text, case-folded: what a filter searches."""
    packed: bytes

    @property
    def body(self) -> Mapping[str, Any]:
        """The object, without `managedFields`; the same one each time, as long as it is looked at."""
        return packing.unpack(self.packed)

    @property
    def checkpoint(self) -> "Checkpoint":
        """The object as its readers see it; of one that cannot be read, what can be told, and why in its message."""
        return packing.checkpoint_of(self.packed)


def cells_at(row: Row, now: datetime) -> tuple[Cell, ...]:
    """The cells of all columns, AGE included."""
    return (*row.cells, Cell(human_age(row.created, now), Tone.MUTED))
