"""What the plain commands write to standard output: text for people, JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence

from kubectl_chrek.api.compatibility import Check, Verdict
from kubectl_chrek.api.node import NodeCheck


def write(text: str) -> None:
    """One line, or several."""
    sys.stdout.write(f"{text}\n")


def write_json(content: object) -> None:
    """One document."""
    write(json.dumps(content, indent=2, default=str))


def fields(values: Mapping[str, object]) -> str:
    """One line for each, names in a column."""
    width = max((len(name) for name in values), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in values.items())


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(head), *cells]) for column in range(len(head))]

    def line(values: Sequence[str], row: Sequence[object] | None = None) -> str:
        right = [row is not None and isinstance(row[column], int | float) for column in range(len(values))]
        parts = (
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        )
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), *(line(values, row) for values, row in zip(cells, rows, strict=True))])


def checks_text(checks: Sequence[NodeCheck]) -> str:
    """A doctor's findings."""
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:<4}  {check.name}: {check.message}")
        if check.fix:
            lines.append(f"      {check.fix}")
    return "\n".join(lines)


def compatibility_text(checks: Sequence[Check]) -> str:
    """What was compared, and how it ended."""
    rows = [(check.verdict, check.name, check.reason) for check in checks if check.verdict is not Verdict.PASS]
    passed = sum(check.verdict is Verdict.PASS for check in checks)
    return "\n".join([f"{passed} of {len(checks)} compatibility checks pass", *(f"{a}: {b}: {c}".rstrip(": ") for a, b, c in rows)])


def size(count: int) -> str:
    """Bytes for people."""
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while value >= 1024 and unit != "TiB":
        value, unit = value / 1024, next(units)
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
