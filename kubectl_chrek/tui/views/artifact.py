"""What lies in an artifact: the same tree as `inspect`, the memory of its processes as bars, its copies, its last check."""

from datetime import datetime
from typing import Final

from textual.content import Content

from kubectl_chrek.api.checkpoint import Artifact, CapturedProcess, Checkpoint, Verification
from kubectl_chrek.ops.formatting import human_age, human_bytes, human_seconds
from kubectl_chrek.ops.inspecting import tree
from kubectl_chrek.tui.plain import MUTED, clean, span
from kubectl_chrek.tui.views.overview import heading
from kubectl_chrek.tui.views.phases import bar, rate
from kubectl_chrek.tui.widgets.cells import Cell

_NAME: Final = 24
_MOST: Final = 20


def contents_view(checkpoint: Checkpoint, now: datetime, width: int) -> Content:
    """The tree, then what is shared, who holds how much memory, where copies are, and whether it was read back."""
    status = checkpoint.status
    if status.artifact is None:
        return Content.styled(f"The checkpoint is {clean(checkpoint.phase)}: there is no artifact yet.", MUTED)
    parts = [Content("\n").join([Content.assemble(span(line)) for line in tree(checkpoint)])]
    room = max(min(width - _NAME - 24, 60), 8)
    parts += [part for part in (_sharing(status.artifact, room), _memory(status.artifact.processes, room)) if part]
    if status.caches:
        lines = [f"{copy.node}  {human_bytes(copy.bytes)}, for {human_age(copy.at, now)}" for copy in status.caches]
        parts.append(Content("\n").join([heading("Copies on nodes"), *(Content.assemble(span(line)) for line in lines)]))
    if status.verification:
        parts.append(Content("\n").join([heading("Read back"), _verification(status.verification, now, room)]))
    return Content("\n\n").join(parts)


def _sharing(artifact: Artifact, room: int) -> Content | None:
    if artifact.unique_bytes is None or artifact.bytes <= 0:
        return None
    own = min(artifact.unique_bytes / artifact.bytes, 1.0)
    told = f"  {human_bytes(artifact.unique_bytes)} of its own ({own:.0%}), the rest is shared with other checkpoints"
    return Content.assemble(span("Unique".ljust(_NAME), MUTED), span(bar(own, room), "$text-primary"), span(told))


def _memory(processes: list[CapturedProcess], room: int) -> Content | None:
    largest = max((process.bytes for process in processes), default=0)
    if not largest:
        return None
    ordered = sorted(processes, key=lambda process: -process.bytes)[:_MOST]
    lines = [_process(process, largest, room) for process in ordered]
    return Content("\n").join([heading("Memory by process"), *lines])


def _process(process: CapturedProcess, largest: int, room: int) -> Content:
    name = Cell(clean(f"{process.pid} {process.name}")).fitted(_NAME - 1)
    return Content.assemble(
        span(f"{name} ", MUTED), span(bar(process.bytes / largest, room), "$text-primary"), span(f"  {human_bytes(process.bytes)}")
    )


def _verification(found: Verification, now: datetime, room: int) -> Content:
    if found.result == "running":
        part = min(found.bytes / found.bytes_total, 1.0) if found.bytes_total > 0 else 0.0
        speed = rate(found.bytes / found.seconds) if found.seconds > 0 else ""
        return Content.assemble(span(bar(part, room), "$text-primary"), span(f"  {part:.0%}  {speed}"))
    style = "$text-success" if found.result == "ok" else "$text-error"
    glyph = "✓" if found.result == "ok" else "✗"
    told = f"  {human_bytes(found.bytes)} in {human_seconds(found.seconds)} on {found.node or '?'}, {human_age(found.at, now)} ago"
    return Content.assemble(
        span(f"{glyph} {found.result}", style), span(told), span(f"  {found.message}" if found.message else "", style)
    )
