"""The second tab of a checkpoint: how long everything took, as bars; those of one block have one scale."""

from collections.abc import Mapping
from typing import Final

from textual.content import Content

from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.ops.formatting import human_seconds
from kubectl_chrek.tui.plain import MUTED, clean, span
from kubectl_chrek.tui.views.overview import heading
from kubectl_chrek.tui.views.phases import bar, fraction, rate, remaining, result_of
from kubectl_chrek.tui.views.status import TONE_STYLES
from kubectl_chrek.tui.widgets.cells import Cell

UNACCOUNTED: Final = "unaccounted"
_LABEL_WIDTH: Final = 16
_SECONDS_WIDTH: Final = 9
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
# What is left of a total when its phases are taken away is shown from this many seconds on.
_SHOWN_FROM: Final = 0.01


def timeline_view(checkpoint: Checkpoint, width: int) -> Content:
    """Cold start against restore, then the phases of the capture and of the last restore.

    Args:
        checkpoint: What is measured.
        width: The terminal cells that a line may take.
    """
    blocks = [_starts(checkpoint, width), _progress(checkpoint, width), _capture(checkpoint, width), _restore(checkpoint, width)]
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
    scale = max(cold, restored)
    lines = [heading("From the container's start to readiness")]
    if cold:
        lines.append(_bar_line("cold start", cold, scale, width, "$warning"))
    if restored:
        faster = f"  {cold / restored:.1f}x faster" if cold > restored else ""
        lines.append(
            _bar_line("last restore", restored, scale, width, "$success").append(Content.styled(faster, "bold $text-success"))
        )
    return Content("\n").join(lines)


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


def _capture(checkpoint: Checkpoint, width: int) -> Content | None:
    artifact = checkpoint.status.artifact
    if artifact is None or not artifact.phases:
        return None
    speed = rate(artifact.bytes / artifact.capture_seconds) if artifact.capture_seconds > 0 else ""
    pieces = ("Capture", human_seconds(artifact.capture_seconds), speed, f"on {artifact.node}" if artifact.node else "")
    return _phases("  ".join(piece for piece in pieces if piece), artifact.phases, artifact.capture_seconds, width)


def _restore(checkpoint: Checkpoint, width: int) -> Content | None:
    artifact, last = checkpoint.status.artifact, checkpoint.status.last_restore
    if last is None:
        return None
    result = result_of(last.result)
    speed = rate(artifact.bytes / last.seconds) if artifact and last.seconds > 0 and last.result == "restored" else ""
    pieces = ("Last start", result.text, human_seconds(last.seconds), speed, last.pod, f"on {last.node}" if last.node else "")
    shown = _phases("  ".join(piece for piece in pieces if piece), last.phases, last.seconds, width)
    if not last.reason:
        return shown
    return Content("\n").join([shown, Content.assemble(span(last.reason, TONE_STYLES[result.tone]))])


def _phases(title: str, phases: Mapping[str, float], total: float, width: int) -> Content:
    left = total - sum(phases.values())
    rows = [*phases.items(), *([(UNACCOUNTED, left)] if phases and left > _SHOWN_FROM else [])]
    scale = max((seconds for _, seconds in rows), default=0.0)
    whole = max(total, sum(phases.values()))
    lines = [
        _bar_line(name, seconds, scale, width, "$primary" if name != UNACCOUNTED else MUTED).append(
            Content.styled(f"  {seconds / whole:.0%}" if whole > 0 else "", MUTED)
        )
        for name, seconds in rows
    ]
    return Content("\n").join([heading(title), *lines])


def _bar_line(label: str, seconds: float, scale: float, width: int, style: str) -> Content:
    room = max(width - _LABEL_WIDTH - _SECONDS_WIDTH - 20, 10)
    eighths = round(max(seconds, 0.0) / scale * room * 8) if scale > 0 else 0
    full, rest = divmod(min(eighths, room * 8), 8)
    # The shortest phase still leaves a trace, so that a bar's absence means nothing was measured.
    drawn = "█" * full + (_BLOCKS[rest] if rest else "") or ("▏" if seconds > 0 else "")
    name = Cell(clean(label)).fitted(_LABEL_WIDTH - 1)
    return Content.assemble((name, MUTED), " ", (drawn, style), " ", (human_seconds(seconds), "bold"))
