"""The banner's second line: how many checkpoints there are and in which phases, and whether what is shown is current."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from textual.content import Content

from kubectl_chrek.ops.formatting import human_duration
from kubectl_chrek.tui.feed import Outage
from kubectl_chrek.tui.plain import MUTED, span
from kubectl_chrek.tui.views.phases import ORDER, phase_text, phase_tone
from kubectl_chrek.tui.views.rows import PHASE, Row
from kubectl_chrek.tui.widgets.cells import Tone

TONE_STYLES: Final = {
    Tone.NORMAL: "",
    Tone.MUTED: MUTED,
    Tone.GOOD: "$text-success",
    Tone.BUSY: "$text-primary",
    Tone.WARNING: "$text-warning",
    Tone.BAD: "$text-error",
}
"""How a tone is written in a theme's variables."""


def counts(shown: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pieces such as `● 8 Ready  ✗ 1 Failed`, in the order of the phases."""
    found = Counter(shown)
    pieces: list[tuple[str, str]] = []
    for phase in (*ORDER, *sorted(found.keys() - set(ORDER))):
        if found[phase]:
            glyph, _, word = phase_text(phase).partition(" ")
            pieces.append(span(f"  {glyph} {found[phase]} {word}", TONE_STYLES[phase_tone(phase)]))
    return pieces


def facts(counted: Iterable[tuple[str, str]], *, namespace: str, shown: int, total: int, filtered: bool, marked: int) -> Content:
    """Namespace, counts by phase as `counts` makes them, and how much of it a filter lets through."""
    pieces = [span(namespace, "$text-accent")]
    if filtered:
        pieces.append(span(f"  filter {shown}/{total}", "bold $text-warning"))
    if marked:
        pieces.append(span(f"  {marked} marked", "bold $text-accent"))
    return Content.assemble(*pieces, *counted)


def one(row: Row) -> Content:
    """The facts of a single checkpoint: its namespace, its phase, its progress."""
    cell = row.cells[PHASE]
    return Content.assemble(span(row.namespace, "$text-accent"), span(f"  {cell.text}", TONE_STYLES[cell.tone]))


def state(*, synced: bool, outage: Outage | None, read_only: bool, now: datetime) -> Content:
    """Whether the watch is live; after a failure since when it is not, and when it is tried again."""
    prefix = [span("read-only  ", "$text-accent")] if read_only else []
    if outage is not None:
        since = human_duration((now - outage.since).total_seconds())
        retry = max((outage.retry_at - now).total_seconds(), 0.0)
        word = "stale" if synced else "no answer"
        return Content.assemble(*prefix, span(f"▲ {word} since {since}, retry in {human_duration(retry)}", "bold $text-warning"))
    if not synced:
        return Content.assemble(*prefix, span("◌ loading", MUTED))
    return Content.assemble(*prefix, span("● live", "$text-success"))
