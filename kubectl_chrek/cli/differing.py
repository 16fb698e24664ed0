"""Differences as lines: `-` what the first has, `+` what the second has."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kubectl_chrek.cli import output
from kubectl_chrek.ops.explaining import Difference

if TYPE_CHECKING:
    from kubectl_chrek.ops.differing import Section


def write_sections(sections: Sequence["Section"], left: str, right: str) -> None:
    """Writes what differs, part by part."""
    lines = [f"--- {left}", f"+++ {right}"]
    for section in sections:
        lines += [f"{section.title}:", *difference_lines(section.differences)]
    output.write_lines(map(output.one_line, lines))


def difference_lines(differences: Iterable[Difference]) -> Iterable[str]:
    """Two lines for each field, or one where only one side has it."""
    for difference in differences:
        for sign, value in (("-", difference.left), ("+", difference.right)):
            if value is not None:
                yield f"{sign} {difference.field}: {value_text(value)}"


def value_text(value: object) -> str:
    """A value as people write it: text bare, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
