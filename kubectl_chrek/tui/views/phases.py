"""How a phase, a result and a capture's progress are told: a glyph, a word and a tone, never a colour alone."""

from typing import TYPE_CHECKING, Final

from kubectl_chrek.api import names
from kubectl_chrek.ops.formatting import human_seconds
from kubectl_chrek.tui.plain import clean
from kubectl_chrek.tui.widgets.cells import Cell, Tone

if TYPE_CHECKING:
    from kubectl_chrek.api.checkpoint import Checkpoint, Progress
    from kubectl_chrek.api.node import Ceilings

DELETING: Final = "Deleting"
BAR_WIDTH: Final = 8

_GLYPHS: Final = {
    names.Phase.PENDING: ("○", Tone.MUTED),
    names.Phase.CREATING: ("◐", Tone.BUSY),
    names.Phase.READY: ("●", Tone.GOOD),
    names.Phase.FAILED: ("✗", Tone.BAD),
    DELETING: ("⌫", Tone.WARNING),
}
ORDER: Final = tuple(_GLYPHS)
"""All phases, in the order in which sorting by phase puts them."""


def shown_phase(checkpoint: "Checkpoint") -> str:
    """The phase; an object that waits for its artifact's deletion is `Deleting`, whatever its status says."""
    return DELETING if checkpoint.metadata.deletion_timestamp else clean(checkpoint.phase)


def phase_tone(phase: str) -> Tone:
    """The tone in which a phase is drawn."""
    return _GLYPHS.get(phase, ("?", Tone.WARNING))[1]


def phase_text(phase: str) -> str:
    """Glyph and word."""
    return f"{_GLYPHS.get(phase, ('?', Tone.WARNING))[0]} {phase}"


def phase_cell(phase: str, progress: "Progress | None") -> Cell:
    """The phase with, while a capture runs, as much of its progress as there is room for."""
    text, tone = phase_text(phase), phase_tone(phase)
    if phase != names.Phase.CREATING or progress is None:
        return Cell(text, tone)
    part = fraction(progress)
    if part is None:
        return Cell(f"{text} {clean(progress.step)}".rstrip(), tone, shorter=(text,))
    percent = f"{text} {part:.0%}"
    drawn = f"{percent} {bar(part, BAR_WIDTH)}"
    return Cell(f"{drawn} {rate(progress.bytes_per_second)}".rstrip(), tone, shorter=(drawn, percent, text))


def fraction(progress: "Progress") -> float | None:
    """How far a capture is, from 0 to 1, by its bytes; None while their number is not known."""
    if progress.bytes_total <= 0:
        return None
    return min(max(progress.bytes_done / progress.bytes_total, 0.0), 1.0)


def rate(bytes_per_second: float) -> str:
    """A speed in GB/s, the unit in which disks and GPUs are sold; empty when there is none yet."""
    return f"{bytes_per_second / 1e9:.1f} GB/s" if bytes_per_second > 0 else ""


def best_text(ceilings: "Ceilings") -> str:
    """What a node's hardware can do at best, as far as it is known."""
    from kubectl_chrek.ops.timeline import COPY, HASH, READ

    rates = {COPY: ceilings.copy_bytes_per_second, HASH: ceilings.hash_bytes_per_second, READ: ceilings.store_read_bytes_per_second}
    return ", ".join(f"{name} {rate(speed)}" for name, speed in rates.items() if speed)


def remaining(progress: "Progress") -> str:
    """How long the capture will take at its present speed; empty when that cannot be said."""
    left = progress.bytes_total - progress.bytes_done
    return f"{human_seconds(left / progress.bytes_per_second)} left" if left > 0 and progress.bytes_per_second > 0 else ""


def bar(part: float, width: int) -> str:
    """A bar of `width` cells of which `part` (0 to 1) is filled, to a half cell."""
    halves = round(part * width * 2)
    full, half = divmod(halves, 2)
    return ("━" * full + "╸" * half).ljust(width, "┄")


def result_of(result: str) -> Cell:
    """`restored`, `cold`, or whatever else an agent wrote."""
    if result == "restored":
        return Cell("✓ restored", Tone.GOOD)
    if result == "cold":
        return Cell("❄ cold", Tone.WARNING)
    return Cell(f"? {clean(result)}", Tone.WARNING) if result else Cell("-", Tone.MUTED)
