"""A plan of `gc` as rows: what goes and why, what it costs, and what stays although the policy names it."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from textual.content import Content

from kubectl_chrek.ops.formatting import human_age, human_bytes, human_seconds, plural
from kubectl_chrek.ops.retention import Candidate, Plan, model_of
from kubectl_chrek.tui.plain import MUTED, clean, span
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.overview import section
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

PLAN_COLUMNS: Final = (
    Column("namespace", "NAMESPACE", least=9, rank=4),
    Column("name", "NAME", least=14, rank=0),
    Column("fate", "FATE", least=8, rank=1),
    Column("reason", "REASON", least=14, rank=2),
    Column("size", "FREES", least=6, rank=3, right=True),
    Column("used", "LAST-USED", least=9, rank=5, right=True),
    Column("cold", "COLD-START", least=10, rank=6, right=True),
    Column("model", "MODEL", least=10, rank=7, keep_end=True),
)
_DASH: Final = Cell("-", Tone.MUTED)


def plan_entries(plan: Plan, out: Collection[str], now: datetime) -> list[Entry]:
    """What goes, then what stays.

    Args:
        plan: What `gc` would do.
        out: UIDs of those that the user has taken out.
        now: The time.
    """
    going = [_entry(each, _fate(taken_out=each.uid in out), now) for each in plan.evict]
    return going + [_entry(each, Cell("● stays", Tone.GOOD), now) for each in plan.keep]


def plan_facts(plan: Plan, out: Collection[str], flags: str) -> list[tuple[str, str]]:
    """The policy, and what the plan comes to without those taken out."""
    going = [each for each in plan.evict if each.uid not in out]
    seconds = sum(each.cold_start_seconds for each in going)
    cost = f", {human_seconds(seconds)} of cold starts to pay again" if seconds else ""
    freed = human_bytes(sum(each.bytes for each in going))
    return [
        span(f"  gc {flags}"),
        span(f"  {plural(len(going), 'checkpoint')}, {freed}{cost}", "bold $text-warning" if going else MUTED),
    ]


def _fate(*, taken_out: bool) -> Cell:
    return Cell("○ taken out", Tone.MUTED) if taken_out else Cell("⌫ goes", Tone.WARNING)


def _entry(candidate: Candidate, fate: Cell, now: datetime) -> Entry:
    metadata = candidate.checkpoint.metadata
    return Entry(
        key=candidate.uid,
        name=candidate.name,
        namespace=metadata.namespace,
        checkpoint=candidate.name,
        labels=metadata.labels,
        cells=(
            Cell(clean(metadata.namespace)),
            Cell(clean(candidate.name)),
            fate,
            Cell(clean(candidate.reason)),
            Cell(human_bytes(candidate.bytes)) if candidate.bytes else _DASH,
            Cell(human_age(candidate.last_used, now), Tone.MUTED),
            Cell(human_seconds(candidate.cold_start_seconds)) if candidate.cold_start_seconds else _DASH,
            Cell(clean(model_of(candidate.checkpoint))),
        ),
        about=lambda width: _view(candidate, width),
    )


def _view(candidate: Candidate, width: int) -> Content:
    users = ", ".join(candidate.referenced_by) or "nobody"
    facts = [("Because", [span(candidate.reason)]), ("Used by", [span(users)]), ("Frees", [span(human_bytes(candidate.bytes))])]
    return section(f"{candidate.checkpoint.metadata.namespace}/{candidate.name}", facts, width)
