"""Draws what the benchmarks found as bars: `plots.py [DIRECTORY]` writes one SVG for each of them, docs/images by default."""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 200, 120, 16, 14, 56
COLOURS = ("#9aa5b1", "#1f7a8c")
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Row:
    """One comparison, in seconds."""

    name: str
    plain: float
    ours: float


def cpu(found: dict[str, Any], key: str) -> list[Row]:
    """Of benchmarks/restore.py: `key` is the name of what was compared."""
    return [Row(_size(size["mib"]), size[key]["plain"], size[key]["seconds"]) for size in found["medians"]]


def gpu(found: dict[str, Any]) -> list[Row]:
    """Of benchmarks/gpu: restores to the first step."""
    names = {"weights-4": "4 GiB", "weights-16": "16 GiB", "weights-32": "32 GiB", "llama-8b": "Llama, 8B"}
    parts = found["parts"]
    return [Row(text, _median(parts[name]["plain_restore"]), _median(parts[name]["restore"])) for name, text in names.items()]


def gpu_ways(found: dict[str, Any]) -> list[Row]:
    """Of benchmarks/gpu, one run on one machine: the same 16 GiB in three ways."""
    parts = found["parts"]
    whole = parts["weights-16-short"]
    plain = _median(whole["plain_restore"])
    return [
        Row("16 GiB", plain, _median(whole["restore"])),
        Row("16 GiB, kept apart", plain, _median(parts["apart-16"]["restore"])),
    ]


def _size(mib: int) -> str:
    return f"{mib // 1024} GiB" if mib >= 1024 else f"{mib} MiB"


def _median(runs: Sequence[dict[str, Any]]) -> float:
    return statistics.median(run["seconds"] for run in runs)


def draw(title: str, rows: Sequence[Row]) -> str:
    """An SVG; pure."""
    height = TOP + len(rows) * (2 * BAR + GAP) + 34
    most = max(max(row.plain, row.ours) for row in rows)
    scale = (WIDTH - LEFT - RIGHT) / most
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 24, title, 'font-size="16" fill="#102a43"'),
        _text(LEFT, 44, "plain", f'fill="{COLOURS[0]}"') + _text(LEFT + 50, 44, "ours, verified", f'fill="{COLOURS[1]}"'),
    ]
    step = next((step for step in STEPS if most / step <= 8), STEPS[-1])
    for number in range(int(most / step) + 1):
        x = LEFT + number * step * scale
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{height - 28}" stroke="#e4e7eb"/>')
        lines.append(_text(x, height - 12, f"{number * step:g} s", 'text-anchor="middle" fill="#627d98"'))
    for index, row in enumerate(rows):
        y = TOP + index * (2 * BAR + GAP)
        lines.append(_text(LEFT - 10, y + BAR + 4, row.name, 'text-anchor="end" fill="#102a43"'))
        for place, seconds in enumerate((row.plain, row.ours)):
            top = y + place * BAR
            label = f"{seconds:.2f} s" + (f", {row.plain / seconds:.1f} times as fast" if place else "")
            lines.append(f'<rect x="{LEFT}" y="{top}" width="{seconds * scale:.1f}" height="{BAR - 2}" fill="{COLOURS[place]}"/>')
            lines.append(_text(LEFT + seconds * scale + 6, top + 12, label, 'fill="#334e68"'))
    return "\n".join([*lines, "</svg>", ""])


def _text(x: float, y: float, words: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def main() -> None:
    """Reads the results that there are."""
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    processor = json.loads((RESULTS / "restore.json").read_text())
    graphics = json.loads((RESULTS / "gpu_h200.json").read_text())
    apart = json.loads((RESULTS / "gpu_h200_beside.json").read_text())
    drawn = {
        "bench-restore-warm.svg": draw("Restore of a CPU worker, from the page cache", cpu(processor, "restore warm")),
        "bench-restore-cold.svg": draw("Restore of a CPU worker, nothing cached", cpu(processor, "restore cold")),
        "bench-gpu.svg": draw("Restore of a worker on one H200, to its first step", gpu(graphics)),
        "bench-gpu-apart.svg": draw("Restore on one H200, weights apart and not", gpu_ways(apart)),
    }
    for name, text in drawn.items():
        (where / name).write_text(text)


if __name__ == "__main__":
    main()
