"""Where a checkpoint can be restored, and what stands in the way elsewhere."""

from collections.abc import Iterable, Sequence

from textual.content import Content

from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.compatibility import Check, Verdict
from kubectl_chrek.api.node import ChrekNode
from kubectl_chrek.ops.compat import Answer, answer, places
from kubectl_chrek.tui.plain import MUTED, hang, span
from kubectl_chrek.tui.views.overview import heading

_VERDICTS = {
    Verdict.PASS: ("✓", "can be restored", "$text-success"),
    Verdict.UNKNOWN: ("?", "probably, not all is known", "$text-warning"),
    Verdict.FAIL: ("✗", "cannot be restored", "$text-error"),
}
_INDENT = 4


def compat_view(checkpoint: Checkpoint, nodes: Iterable[ChrekNode], width: int) -> Content:
    """Each node with its verdict and, under it, the checks that did not pass."""
    artifact = checkpoint.status.artifact
    if artifact is None:
        return Content.styled("There is no artifact yet that could be compared with anything.", MUTED)
    answers = [answer(artifact.compatibility, place) for place in places(nodes)]
    if not answers:
        return Content.styled("No agent has told of its node.", MUTED)
    good = sum(1 for each in answers if each.verdict is Verdict.PASS)
    title = heading(f"{good} of {len(answers)} nodes can restore it for certain")
    return Content("\n").join([title, *(line for each in answers for line in _node(each, width))])


def _node(found: Answer, width: int) -> Sequence[Content]:
    glyph, word, style = _VERDICTS[found.verdict]
    wrong = [check for check in found.checks if check.verdict is not Verdict.PASS]
    passed = f"{len(found.checks) - len(wrong)} of {len(found.checks)} checks pass"
    head = Content.assemble(span(f"{glyph} {found.node}  {word}  ", f"bold {style}"), span(passed, MUTED))
    return [head, *(_check(check, width) for check in wrong)]


def _check(check: Check, width: int) -> Content:
    glyph, _, style = _VERDICTS[check.verdict]
    head = Content.assemble(span(f"{' ' * _INDENT}{glyph} {check.name}  ", style))
    told = check.reason or f"captured {check.captured}, here {check.here}"
    return hang(head, Content.assemble(span(told), span(" (waived)" if check.waived else "", MUTED)), width)
