"""The nodes and what their agents say: platform, cache, store, work under way, checks."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from textual.content import Content

from kubectl_chrek.api.compatibility import Gpu
from kubectl_chrek.api.node import ChrekNode, NodeCheck, Operation
from kubectl_chrek.ops.formatting import NONE, human_age, human_bytes
from kubectl_chrek.tui.plain import MUTED, clean, hang, span
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.overview import Fact, section
from kubectl_chrek.tui.views.phases import bar, best_text, rate
from kubectl_chrek.tui.views.status import TONE_STYLES
from kubectl_chrek.tui.views.storage import artifacts_text
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

NODE_COLUMNS: Final = (
    Column("name", "NODE", least=12, rank=0),
    Column("agent", "AGENT", least=9, rank=1),
    Column("checks", "CHECKS", least=8, rank=2),
    Column("work", "WORK", least=16, rank=3),
    Column("gpus", "GPUS", least=10, rank=4),
    Column("driver", "DRIVER", least=8, rank=6),
    Column("cache", "CACHE", least=8, rank=5),
    Column("free", "FREE", least=6, rank=7, right=True),
    Column("heard", "HEARD", least=5, rank=8, right=True),
)
VERDICTS: Final = {"ok": ("✓", Tone.GOOD), "warn": ("▲", Tone.WARNING), "fail": ("✗", Tone.BAD)}
"""Glyph and tone of a finding's verdict."""
_DASH: Final = Cell("-", Tone.MUTED)
_BAR: Final = 10
_WIDE_BAR: Final = 24


def verdict_cell(verdict: str, word: str = "") -> Cell:
    """A verdict as glyph and word."""
    glyph, tone = VERDICTS.get(verdict, ("?", Tone.WARNING))
    return Cell(f"{glyph} {clean(word or verdict)}", tone)


def node_entries(nodes: Iterable[ChrekNode], now: datetime) -> list[Entry]:
    """One for each node, by name."""
    return [_entry(node, now) for node in sorted(nodes, key=lambda node: node.metadata.name)]


def _entry(node: ChrekNode, now: datetime) -> Entry:
    status, alive = node.status, node.alive(now)
    bad = [check for check in status.checks if check.verdict != "ok"]
    return Entry(
        key=node.metadata.uid or node.metadata.name,
        name=node.metadata.name,
        labels=node.metadata.labels,
        cells=(
            Cell(clean(node.metadata.name)),
            Cell(f"● {clean(status.agent.version)}", Tone.GOOD) if alive else Cell("✗ silent", Tone.BAD),
            verdict_cell(node.verdict, f"{len(bad)} {node.verdict}" if bad else ""),
            _work(status.operations, now),
            Cell(gpu_text(status.platform.gpus)) if status.platform.gpus else _DASH,
            Cell(clean(status.platform.driver)) if status.platform.driver else _DASH,
            _filled(status.cache.bytes, status.cache.quota_bytes),
            Cell(human_bytes(status.store.free_bytes)) if status.store.free_bytes is not None else _DASH,
            Cell(human_age(status.agent.heartbeat_at, now), Tone.MUTED if alive else Tone.BAD),
        ),
        about=lambda width: node_view(node, now, width),
    )


def gpu_text(gpus: Iterable[Gpu] | None) -> str:
    """`8 x H200`; empty for none."""
    found = Counter(clean(" ".join(filter(None, (gpu.model, gpu.mig))) or "?") for gpu in gpus or ())
    return ", ".join(f"{count} x {model}" for model, count in found.items())


def node_view(node: ChrekNode, now: datetime, width: int) -> Content:
    """What is under way there as bars, what is wrong, what it is made of."""
    status = node.status
    parts = [Content("\n").join([operation_line(each, now) for each in status.operations])] if status.operations else []
    wrong = [_check(check, width) for check in status.checks if check.verdict != "ok"]
    parts += [Content("\n").join(wrong)] if wrong else []
    return Content("\n\n").join([*parts, section("Node", _facts(node), width)])


def operation_line(operation: Operation, now: datetime) -> Content:
    """A capture or restore as a bar with its speed."""
    part = operation.bytes_done / operation.bytes_total if operation.bytes_total > 0 else 0.0
    seconds = (now - operation.started_at).total_seconds() if operation.started_at else 0.0
    speed = rate(operation.bytes_done / seconds) if seconds > 0 else ""
    told = (
        f"{human_bytes(operation.bytes_done)} of {human_bytes(operation.bytes_total)}" if operation.bytes_total > 0 else "",
        speed,
        human_age(operation.started_at, now) if operation.started_at else "",
        operation.step,
    )
    return Content.assemble(
        span(f"{operation.kind:<8} ", "bold $text-primary"),
        span(bar(min(max(part, 0.0), 1.0), _WIDE_BAR), "$text-primary"),
        span(f" {part:4.0%}  ", "bold"),
        span(f"{operation.namespace}/{operation.checkpoint}"),
        span(f" in {operation.pod}  " if operation.pod else "  ", MUTED),
        span(", ".join(filter(None, told))),
    )


def _work(operations: list[Operation], now: datetime) -> Cell:
    if not operations:
        return _DASH
    first = operations[0]
    more = f" +{len(operations) - 1}" if len(operations) > 1 else ""
    word = clean(first.kind)
    if first.bytes_total <= 0:
        return Cell(f"◐ {word} {clean(first.step)}{more}", Tone.BUSY, shorter=(f"◐ {word}{more}",))
    part = min(max(first.bytes_done / first.bytes_total, 0.0), 1.0)
    seconds = (now - first.started_at).total_seconds() if first.started_at else 0.0
    speed = f" {rate(first.bytes_done / seconds)}" if seconds > 0 else ""
    short = f"◐ {word} {part:.0%}{more}"
    return Cell(f"◐ {word} {bar(part, _BAR)} {part:.0%}{speed}{more}", Tone.BUSY, shorter=(short, f"◐ {part:.0%}"))


def _filled(used: int, quota: int) -> Cell:
    if quota <= 0:
        return Cell(human_bytes(used)) if used else _DASH
    part = min(used / quota, 1.0)
    text = f"{human_bytes(used)} of {human_bytes(quota)}"
    return Cell(f"{bar(part, _BAR)} {text}", shorter=(text, f"{part:.0%}"))


def _check(check: NodeCheck, width: int) -> Content:
    glyph, tone = VERDICTS.get(check.verdict, ("?", Tone.WARNING))
    head = Content.assemble(span(f"{glyph} {check.verdict} {check.name}  ", TONE_STYLES[tone]))
    body = Content.assemble(span(check.message), span(f"  → {check.fix}" if check.fix else "", "bold"))
    return hang(head, body, width)


def _facts(node: ChrekNode) -> list[Fact]:
    platform, store, agent = node.status.platform, node.status.store, node.status.agent
    memory = human_bytes(platform.memory_bytes) if platform.memory_bytes is not None else NONE
    pairs = (
        ("Agent", " ".join(filter(None, (agent.pod, agent.version)))),
        ("Machine", f"{platform.architecture or NONE}, kernel {platform.kernel or NONE}, CRIU {platform.criu or NONE}, {memory}"),
        ("GPUs", f"{gpu_text(platform.gpus) or NONE}, driver {platform.driver or NONE}, CUDA {platform.cuda or NONE}"),
        ("Store", f"{store.type or NONE} {store.location}, {artifacts_text(store)}"),
        ("At best", best_text(node.status.ceilings)),
        ("Cached", ", ".join(node.status.cache.hashes) or NONE),
    )
    return [(label, [span(text or NONE)]) for label, text in pairs]
