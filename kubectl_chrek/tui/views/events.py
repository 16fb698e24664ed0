"""Kubernetes' Events about a checkpoint, its Job and its pods, newest first."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from textual.content import Content

from kubectl_chrek.ops.formatting import human_age
from kubectl_chrek.tui.plain import MUTED, hang, span

_SHOWN = 200
_AGE_WIDTH = 6


def events_view(events: Iterable[Mapping[str, Any]] | None, now: datetime, width: int, *, lost: str = "") -> Content:
    """Each Event with its age, reason, object, count and, under it, its message, in lines of `width` cells.

    Args:
        events: In no order; None: not known yet.
        now: The time.
        width: The cells of a line.
        lost: Why there may be newer ones.
    """
    found = {event["metadata"]["uid"]: event for event in events or ()}
    ordered = sorted(found.values(), key=lambda event: (_last(event), event["metadata"]["name"]), reverse=True)
    lines = [hang(Content(""), Content.assemble(span(lost, "$text-warning")), width)] if lost else []
    if events is not None and not ordered:
        lines.append(Content.styled("No events. A cluster forgets them after an hour.", MUTED))
    return Content("\n").join([*lines, *(_event(event, now, width) for event in ordered[:_SHOWN])])


def _event(event: Mapping[str, Any], now: datetime, width: int) -> Content:
    about = event.get("involvedObject") or {}
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    last = _last(event)
    style = "bold $text-warning" if event.get("type") == "Warning" else "bold $text-success"
    glyph = "▲" if event.get("type") == "Warning" else "●"
    head = Content.assemble(
        span(f"{human_age(last if last.year > 1 else None, now):>{_AGE_WIDTH}}  ", MUTED),
        span(f"{glyph} {event.get('reason') or '-'}", style),
        span(f"  {about.get('kind', '?')}/{about.get('name', '?')}"),
        span(f"  x{count}" if count > 1 else "", MUTED),
    )
    message = Content.assemble(span(event.get("message") or ""))
    return Content("\n").join([head, hang(Content(" " * (_AGE_WIDTH + 4)), message, width)])


def _last(event: Mapping[str, Any]) -> datetime:
    """When it was last seen; `eventTime` is set by newer writers, `lastTimestamp` by older ones."""
    series = event.get("series") or {}
    text = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
    )
    return datetime.fromisoformat(text or "0001-01-01T00:00:00Z")
