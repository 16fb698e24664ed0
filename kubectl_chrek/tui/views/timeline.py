"""The second tab of a checkpoint: how long everything took, as bars; those of one block have one scale.

Of a phase that moves bytes the solid part of its bar is what the node's hardware needs for them at best.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from textual.content import Content

from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.node import Ceilings
from kubectl_chrek.ops.formatting import human_seconds
from kubectl_chrek.ops.timeline import Step, steps
from kubectl_chrek.tui.plain import MUTED, clean, span
from kubectl_chrek.tui.views.overview import heading
from kubectl_chrek.tui.views.phases import bar, best_text, fraction, rate, remaining, result_of
from kubectl_chrek.tui.views.status import TONE_STYLES
from kubectl_chrek.tui.widgets.cells import Cell

UNACCOUNTED: Final = "unaccounted"
_LABEL_WIDTH: Final = 16
_LEAST_BAR: Final = 8
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
# What is left of a total when its phases are taken away is shown from this many seconds on.
_SHOWN_FROM: Final = 0.01

Nodes = Mapping[str, Ceilings]
"""What nodes can do at best, by their names."""


def timeline_view(checkpoint: Checkpoint, nodes: Nodes, width: int) -> Content:
    """Cold start against restore, then the phases of the capture and of the last restore.

    Args:
        checkpoint: What is measured.
        nodes: The ceilings of those nodes that are known.
        width: The terminal cells that a line may take.
    """
    blocks = [_starts(checkpoint, width), _progress(checkpoint, width)]
    blocks += [_capture(checkpoint, nodes, width), _restore(checkpoint, nodes, width)]
    shown = [block for block in blocks if block is not None]
    if not shown:
        return Content.styled("Nothing has been measured yet: no capture, no start.", MUTED)
    return Content("\n\n").join(shown)


def _starts(checkpoint: Checkpoint, width: int) -> Content | None:
    artifact, last = checkpoint.status.artifact, checkpoint.status.last_restore
    cold = artifact.cold_start_seconds if artifact else 0.0
    restored = last.seconds if last and last.result == "restored" else 0.0
    if not cold and not restored:
        return None
    faster = f"  {cold / restored:.1f}x faster" if cold > restored > 0 else ""
    rows = [("cold start", cold, "", "$warning"), ("last restore", restored, faster, "$success")]
    suffixes = [Content.assemble(_seconds(seconds), span(told, "bold $text-success")) for _, seconds, told, _ in rows]
    room = _room(suffixes, width)
    lines = [
        _line(label, [(_drawn(seconds, max(cold, restored), room), style)], suffix)
        for (label, seconds, _, style), suffix in zip(rows, suffixes, strict=True)
        if seconds
    ]
    return Content("\n").join([heading("From the container's start to readiness"), *lines])


def _progress(checkpoint: Checkpoint, width: int) -> Content | None:
    progress = checkpoint.status.progress
    if progress is None or checkpoint.status.artifact is not None:
        return None
    lines = [heading(f"Capture under way: {progress.step or 'starting'}")]
    part = fraction(progress)
    if part is not None:
        told = "  ".join(text for text in (f"{part:.0%}", rate(progress.bytes_per_second), remaining(progress)) if text)
        lines.append(Content.assemble(span(bar(part, max(width - len(told) - 2, 4)), "$text-primary"), span(f"  {told}", "bold")))
    return Content("\n").join(lines)


def _capture(checkpoint: Checkpoint, nodes: Nodes, width: int) -> Content | None:
    artifact = checkpoint.status.artifact
    if artifact is None or not artifact.phases:
        return None
    speed = rate(artifact.bytes / artifact.capture_seconds) if artifact.capture_seconds > 0 else ""
    pieces = ("Capture", human_seconds(artifact.capture_seconds), speed, f"on {artifact.node}" if artifact.node else "")
    phases = _whole(artifact.phases, artifact.capture_seconds)
    ceilings = nodes.get(artifact.node)
    return _phases(_joined(pieces), steps(phases, artifact.phase_bytes, artifact.bytes, ceilings), ceilings, width)


def _restore(checkpoint: Checkpoint, nodes: Nodes, width: int) -> Content | None:
    artifact, last = checkpoint.status.artifact, checkpoint.status.last_restore
    if last is None:
        return None
    result = result_of(last.result)
    size = artifact.bytes if artifact and last.result == "restored" else 0
    speed = rate(size / last.seconds) if last.seconds > 0 else ""
    pieces = ("Last start", result.text, human_seconds(last.seconds), speed, last.pod, f"on {last.node}" if last.node else "")
    ceilings = nodes.get(last.node)
    shown = _phases(_joined(pieces), steps(_whole(last.phases, last.seconds), last.phase_bytes, size, ceilings), ceilings, width)
    if not last.reason:
        return shown
    return Content("\n").join([shown, Content.assemble(span(last.reason, TONE_STYLES[result.tone]))])


def _joined(pieces: Iterable[str]) -> str:
    return "  ".join(piece for piece in pieces if piece)


def _whole(phases: Mapping[str, float], total: float) -> Mapping[str, float]:
    """The phases, and what is left of the total where their writer did not say."""
    left = total - sum(phases.values())
    return {**phases, UNACCOUNTED: left} if phases and left > _SHOWN_FROM and UNACCOUNTED not in phases else phases


def _phases(title: str, found: Sequence[Step], ceilings: Ceilings | None, width: int) -> Content:
    scale = max((step.seconds for step in found), default=0.0)
    suffixes = [_told(step) for step in found]
    room = _room(suffixes, width)
    lines = [_line(step.name, _bar(step, scale, room), suffix) for step, suffix in zip(found, suffixes, strict=True)]
    known = best_text(ceilings) if ceilings and any(step.bound for step in found) else ""
    best = [Content.assemble(span(f"The node at best: {known}", MUTED))] if known else []
    return Content("\n").join([heading(title), *lines, *best])


def _told(step: Step) -> Content:
    """Seconds, share of all, speed, and how near that is to the ceiling."""
    reached = "" if step.share is None else f"  {step.share:>4.0%} of {step.bound}"
    speed = f"  {rate(step.rate):>9}" if step.rate else ""
    return Content.assemble(_seconds(step.seconds), (f"  {step.part:>4.0%}", MUTED), span(speed), span(reached, "$text-accent"))


def _seconds(seconds: float) -> tuple[str, str]:
    return f"{human_seconds(seconds):>6}", "bold"


def _room(suffixes: Iterable[Content], width: int) -> int:
    """The cells that are left for the bars of a block."""
    return max(width - _LABEL_WIDTH - 1 - max((suffix.cell_length for suffix in suffixes), default=0), _LEAST_BAR)


def _bar(step: Step, scale: float, room: int) -> list[tuple[str, str]]:
    drawn = _drawn(step.seconds, scale, room)
    if step.share is None:
        return [(drawn, MUTED if step.name == UNACCOUNTED else "$primary")]
    needed = len(drawn.rstrip()) * min(step.share, 1.0)
    solid = drawn[: max(round(needed), 1)]
    return [(solid, "$primary"), ("▒" * len(drawn[len(solid) :].rstrip()) + drawn[len(drawn.rstrip()) :], "$primary")]


def _drawn(seconds: float, scale: float, room: int) -> str:
    """A bar in exactly `room` cells, to an eighth of a cell."""
    eighths = round(max(seconds, 0.0) / scale * room * 8) if scale > 0 else 0
    full, rest = divmod(min(eighths, room * 8), 8)
    # The shortest phase still leaves a trace, so that a bar's absence means nothing was measured.
    return ("█" * full + (_BLOCKS[rest] if rest else "") or ("▏" if seconds > 0 else "")).ljust(room)


def _line(label: str, drawn: Iterable[tuple[str, str]], suffix: Content) -> Content:
    name = Cell(clean(label)).fitted(_LABEL_WIDTH - 1)
    return Content.assemble((name, MUTED), " ", *drawn, " ", suffix)
