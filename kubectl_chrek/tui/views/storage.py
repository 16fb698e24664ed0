"""What checkpoints take, as bars: by backend and model, then by checkpoint; and how full the stores are."""

from collections.abc import Iterable
from typing import Final

from textual.content import Content

from kubectl_chrek.api.node import StoreStatus
from kubectl_chrek.ops.formatting import NONE, human_bytes, plural
from kubectl_chrek.ops.usage import Group, Report, Usage
from kubectl_chrek.tui.plain import MUTED, clean, span
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.overview import heading
from kubectl_chrek.tui.views.phases import bar
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

STORAGE_COLUMNS: Final = (
    Column("model", "MODEL", least=14, rank=0, keep_end=True),
    Column("backend", "BACKEND", least=7, rank=5),
    Column("count", "CHECKPOINTS", least=11, rank=4, right=True),
    Column("active", "ACTIVE", least=6, rank=6, right=True),
    Column("logical", "LOGICAL", least=7, rank=7, right=True),
    Column("stored", "STORED", least=7, rank=1, right=True),
    Column("share", "SHARE", least=12, rank=3),
    Column("reclaimable", "RECLAIMABLE", least=11, rank=2, right=True),
)
_BAR: Final = 16
_NAME: Final = 28


def storage_entries(report: Report) -> list[Entry]:
    """One for each backend and model; the largest first."""
    groups = sorted(report.groups, key=lambda group: (-group.stored, group.backend, group.model))
    total = report.total.stored
    return [_entry(group, total, report.stores) for group in groups]


def storage_facts(report: Report) -> list[tuple[str, str]]:
    """All groups in a line."""
    total = report.total
    return [
        span(f"  {human_bytes(total.stored)} stored for {human_bytes(total.logical)}", "bold"),
        span(f"  {human_bytes(total.reclaimable)} reclaimable ({total.reclaimable_share:.0%})", "$text-warning"),
    ]


def _entry(group: Group, total: int, stores: Iterable[StoreStatus]) -> Entry:
    share = group.stored / total if total else 0.0
    part = f"{group.reclaimable_share:.0%}"
    return Entry(
        key=f"{group.backend}\n{group.model}",
        name=group.model,
        cells=(
            Cell(clean(group.model) or NONE),
            Cell(clean(group.backend) or NONE),
            Cell(str(len(group.usages))),
            Cell(str(group.active)),
            Cell(human_bytes(group.logical)),
            Cell(human_bytes(group.stored)),
            Cell(f"{bar(share, _BAR)} {share:.0%}", Tone.BUSY, shorter=(f"{share:.0%}",)),
            Cell(f"{human_bytes(group.reclaimable)} ({part})", Tone.WARNING if group.reclaimable else Tone.MUTED, shorter=(part,)),
        ),
        about=lambda width: storage_view(group, stores, width),
    )


def storage_view(group: Group, stores: Iterable[StoreStatus], width: int) -> Content:
    """The group's checkpoints, each with what it has for itself, and how full the stores are."""
    largest = max((usage.logical for usage in group.usages), default=0)
    room = max(min(width - _NAME - 48, 40), 8)
    lines = [heading(plural(len(group.usages), "checkpoint")), *(_usage(usage, largest, room) for usage in group.usages)]
    filled = [_store(store, room) for store in stores]
    return Content("\n").join([*lines, *([heading("Stores"), *filled] if filled else [])])


def _usage(usage: Usage, largest: int, room: int) -> Content:
    name = Cell(clean(f"{usage.namespace}/{usage.name}")).fitted(_NAME)
    own = usage.unique / usage.logical if usage.logical else 0.0
    return Content.assemble(
        span(f"{name} "),
        span(bar(usage.logical / largest if largest else 0.0, room), "$text-primary"),
        span(f" {human_bytes(usage.logical):>7}, {human_bytes(usage.unique)} of its own ({own:.0%})"),
        span("  in use" if usage.active else "  nobody refers to it", "" if usage.active else "$text-warning"),
    )


def artifacts_text(store: StoreStatus) -> str:
    """How many there are, if that is known."""
    return "artifacts not counted yet" if store.artifacts is None else plural(store.artifacts, "artifact")


def _store(store: StoreStatus, room: int) -> Content:
    name = Cell(clean(f"{store.type} {store.location}")).fitted(_NAME)
    if store.total_bytes is None or store.free_bytes is None or store.total_bytes <= 0:
        return Content.assemble(span(f"{name} "), span(f"{artifacts_text(store)}, size not known", MUTED))
    used = store.total_bytes - store.free_bytes
    part = min(max(used / store.total_bytes, 0.0), 1.0)
    told = f" {part:.0%} of {human_bytes(store.total_bytes)} used, {human_bytes(store.free_bytes)} free"
    return Content.assemble(span(f"{name} "), span(bar(part, room), "$text-accent"), span(told))
