"""What `doctor` found, and what the user has been told, as rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from textual.content import Content

from kubectl_chrek.ops.findings import Finding, counts
from kubectl_chrek.ops.formatting import human_age
from kubectl_chrek.tui.plain import clean, hang, span
from kubectl_chrek.tui.session import Note
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.nodes import VERDICTS, verdict_cell
from kubectl_chrek.tui.views.overview import section
from kubectl_chrek.tui.views.status import TONE_STYLES
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

FINDING_COLUMNS: Final = (
    Column("verdict", "VERDICT", least=7, rank=0),
    Column("name", "WHAT", least=14, rank=1),
    Column("message", "FOUND", least=20, rank=2),
)
NOTE_COLUMNS: Final = (
    Column("at", "AGE", least=6, rank=1, right=True),
    Column("severity", "KIND", least=13, rank=2),
    Column("message", "MESSAGE", least=20, rank=0),
)
_WORST_FIRST: Final = ("fail", "warn", "ok")
_SEVERITIES: Final = {"error": ("✗", Tone.BAD), "warning": ("▲", Tone.WARNING), "information": ("●", Tone.MUTED)}


def finding_entries(findings: Iterable[Finding]) -> list[Entry]:
    """The worst first, otherwise in doctor's order."""
    ordered = sorted(findings, key=lambda each: _WORST_FIRST.index(each.verdict) if each.verdict in _WORST_FIRST else -1)
    return [_finding(each, number) for number, each in enumerate(ordered)]


def finding_facts(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """How many of each verdict."""
    return [
        span(f"  {VERDICTS[verdict][0]} {number} {verdict}", TONE_STYLES[VERDICTS[verdict][1]])
        for verdict, number in counts(findings).items()
        if number
    ]


def _finding(finding: Finding, number: int) -> Entry:
    facts = [("Found", [span(finding.message)]), *([("Do", [span(finding.fix, "bold")])] if finding.fix else [])]
    return Entry(
        key=f"{finding.name}\n{finding.message}\n{number}",
        name=finding.fix or finding.name,
        cells=(verdict_cell(finding.verdict), Cell(clean(finding.name)), Cell(clean(finding.message))),
        about=lambda width: section(finding.name, facts, width),
    )


def note_entries(notes: Sequence[Note], now: datetime) -> list[Entry]:
    """The newest first."""
    return [_note(note, number, now) for number, note in reversed([*enumerate(notes)])]


def _note(note: Note, number: int, now: datetime) -> Entry:
    times = f"(x{note.count}) " if note.count > 1 else ""
    glyph, tone = _SEVERITIES.get(note.severity, ("?", Tone.WARNING))
    return Entry(
        key=str(number),
        name=note.message,
        cells=(
            Cell(human_age(note.at, now), Tone.MUTED),
            Cell(f"{glyph} {clean(note.severity)}", tone),
            Cell(times + clean(note.message)),
        ),
        about=lambda width: hang(Content(""), Content.assemble(span(times + note.message)), width),
    )
