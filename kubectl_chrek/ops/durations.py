"""Durations as kubectl's users write them."""

import re
from typing import Final

from kubectl_chrek.api.errors import UsageError

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Seconds in `30m`, `1h30m`, `14d`, `1.5s`; a bare number counts seconds.

    Raises:
        UsageError: It is none of these.
    """
    if text.isascii() and text.isdigit():
        return float(text)
    if not _WHOLE.fullmatch(text):
        raise UsageError(f"invalid duration {text!r}", hint="write it as 45s, 30m, 1h30m or 14d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
