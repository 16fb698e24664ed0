"""Durations as kubectl prints them."""

from datetime import UTC, datetime
from typing import Final

from kubectl_chrek.local.apiserver.objects import moment

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY
_UNITS: Final = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "y": _YEAR}
_SCALE: Final = (
    (2 * _MINUTE, "s", ""),
    (10 * _MINUTE, "m", "s"),
    (3 * _HOUR, "m", ""),
    (8 * _HOUR, "h", "m"),
    (2 * _DAY, "h", ""),
    (8 * _DAY, "d", "h"),
    (2 * _YEAR, "d", ""),
    (8 * _YEAR, "y", "d"),
)
"""Up to how many seconds which units are used."""


def human(seconds: float) -> str:
    """A duration with at most two units, the coarser the longer it is."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    for limit, big, small in _SCALE:
        if whole < limit:
            return _written(max(whole, 0), big, small)
    return _written(whole, "y", "")


def age(text: str | None) -> str:
    """Time since a timestamp."""
    since = moment(text) if text else None
    return human((datetime.now(UTC) - since).total_seconds()) if since else "<unknown>"


def between(start: str | None, end: str | None) -> str:
    """Time from a timestamp to another (or now), empty without a start."""
    begun = moment(start) if start else None
    if begun is None:
        return ""
    ended = (moment(end) if end else None) or datetime.now(UTC)
    return human((ended - begun).total_seconds())


def _written(seconds: int, big: str, small: str) -> str:
    rest = seconds % _UNITS[big] // _UNITS[small] if small else 0
    return f"{seconds // _UNITS[big]}{big}" + (f"{rest}{small}" if rest else "")
