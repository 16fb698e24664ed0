"""What lies in an artifact: the same tree as `inspect`, the memory of its processes as bars, its copies, its last check."""

from datetime import datetime
from typing import Final

from textual.content import Content

from kubectl_chrek.api.checkpoint import Artifact, CapturedProcess, Checkpoint, Verification
from kubectl_chrek.ops.formatting import human_age, human_bytes, human_seconds, plural
from kubectl_chrek.ops.inspecting import tree
from kubectl_chrek.tui.plain import MUTED, clean, hang, span
from kubectl_chrek.tui.views.overview import heading
from kubectl_chrek.tui.views.phases import bar, rate
from kubectl_chrek.tui.widgets.cells import Cell

_NAME: Final = 24
_MOST: Final = 20
_TWIGS: Final = "│├└─ "


def contents_view(checkpoint: Checkpoint, now: datetime, width: int) -> Content:
    """The tree, then what is shared, who holds how much memory, where copies are, and whether it was read back."""
    status = checkpoint.status
    if status.artifact is None:
        return Content.styled(f"The checkpoint is {clean(checkpoint.phase)}: there is no artifact yet.", MUTED)
    parts = [Content("\n").join([_branch(line, width) for line in tree(checkpoint)])]
    room = max(min(width - _NAME - 24, 40), 8)
    parts += [part for part in (_stored(status.artifact, room, width), _memory(status.artifact.processes, room)) if part]
    if status.caches:
        lines = [f"{copy.node}  {human_bytes(copy.bytes)}, for {human_age(copy.at, now)}" for copy in status.caches]
        parts.append(Content("\n").join([heading("Copies on nodes"), *(Content.assemble(span(line)) for line in lines)]))
    if status.verification:
        parts.append(Content("\n").join([heading("Read back"), _verification(status.verification, now, room)]))
    return Content("\n\n").join(parts)


def _branch(line: str, width: int) -> Content:
    text = line.lstrip(_TWIGS)
    return hang(Content(line[: len(line) - len(text)]), Content.assemble(span(text)), width)


def _stored(artifact: Artifact, room: int, width: int) -> Content | None:
    """What becomes of the content in the store: own chunks, chunks of others as well, and what needs no room there."""
    own, shared, whole = artifact.unique_bytes, artifact.shared_bytes, artifact.bytes
    if own is None or whole <= 0:
        return None
    parts = [("of its own", own, "would return", "$text-primary")]
    if shared is None:
        parts.append(("the rest", max(whole - own, 0), "others have it too, or it needs no room", MUTED))
    else:
        parts.append(("shared", shared, "other checkpoints have it too", "$text-accent"))
        parts.append(("needs no room", max(whole - own - shared, 0), "zeros, repeats, compression", MUTED))
    packs = "" if artifact.packs is None else f", in {plural(artifact.packs, 'pack')}"
    lines = [
        Content.assemble(
            span(label.ljust(_NAME), MUTED),
            span(bar(min(size / whole, 1.0), room), style),
            span(f" {human_bytes(size):>7} {size / whole:>4.0%}"),
            span(f"  {told}" if _NAME + room + len(told) + 16 <= width else "", MUTED),
        )
        for label, size, told, style in parts
    ]
    return Content("\n").join([heading(f"{human_bytes(whole)} of content in the store{packs}"), *lines])


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
