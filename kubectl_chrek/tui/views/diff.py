"""In what two checkpoints differ, side by side."""

import json
from collections.abc import Iterable
from itertools import zip_longest
from typing import Final

from textual.content import Content

from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.ops.differing import compare
from kubectl_chrek.ops.explaining import Difference
from kubectl_chrek.ops.formatting import human_bytes
from kubectl_chrek.tui.plain import MUTED, clean, span
from kubectl_chrek.tui.views.overview import heading
from kubectl_chrek.tui.widgets.cells import GAP, Cell

_FIELD: Final = 22
_NEITHER: Final = "-"


def diff_view(left: Checkpoint, right: Checkpoint, width: int) -> Content:
    """Two columns of `width` cells in all, with a line or more for each field that is not the same; what `diff` says."""
    side = max((width - _FIELD - 2 * GAP) // 2, 8)
    blocks = [_row("", _name(left), _name(right), side)]
    sections = compare(left, right)
    for section in sections:
        rows = [_row(each.field, *_sides(each), side) for each in section.differences]
        blocks.append(Content("\n").join([heading(section.title.capitalize()), *rows]))
    if not sections:
        blocks.append(Content.assemble(span("Nothing differs: a pod could use either.", "$text-success")))
    return Content("\n\n").join(blocks)


def _name(checkpoint: Checkpoint) -> Content:
    return Content.assemble(span(f"{checkpoint.metadata.namespace}/{checkpoint.metadata.name}", "bold"))


def _sides(found: Difference) -> tuple[Content, Content]:
    left, right = (_text(found.field, value) for value in (found.left, found.right))
    return Content.assemble(span(left, "$text-error")), Content.assemble(span(right, "$text-success"))


def _text(field: str, value: object) -> str:
    if value is None:
        return _NEITHER
    if isinstance(value, int) and field.lower().endswith("bytes"):
        return human_bytes(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(label: str, left: Content, right: Content, side: int) -> Content:
    return Content("\n").join(_lines(Cell(clean(label)).fitted(_FIELD), left.wrap(side), right.wrap(side), side))


def _lines(label: str, left: Iterable[Content], right: Iterable[Content], side: int) -> Iterable[Content]:
    for number, (one, other) in enumerate(zip_longest(left, right, fillvalue=Content(""))):
        head = Content.styled(label if number == 0 else " " * _FIELD, MUTED)
        gap = " " * GAP
        yield Content.assemble(head, gap, one.pad_right(max(side - one.cell_length, 0)), gap, other)
