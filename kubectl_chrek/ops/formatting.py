"""Ages and sizes as kubectl's users read them."""

import re
from datetime import datetime
from typing import Final

from kubectl_chrek.api.errors import UsageError

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_YEAR: Final = 365 * _DAY
# Below this many seconds: the unit, its name, and the unit and name of the rest (0: none is shown).
_STEPS: Final = (
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
)
_UNITS: Final = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_PREFIXES: Final = "KMGTPE"
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([kKMGTPE])(i?))?")
UNKNOWN: Final = "<unknown>"
NONE: Final = "<none>"


def human_duration(seconds: float) -> str:
    """A duration as kubectl prints AGE (Kubernetes' `duration.HumanDuration`): two units while they matter, then one."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole > -2 else "<invalid>"
    for limit, unit, name, rest_unit, rest_name in _STEPS:
        if whole < limit:
            rest = whole % unit // rest_unit if rest_unit else 0
            return f"{whole // unit}{name}" + (f"{rest}{rest_name}" if rest else "")
    return f"{whole // _YEAR}y"


def human_age(then: datetime | None, now: datetime) -> str:
    """How long ago `then` was; `<unknown>` when it is not known."""
    return UNKNOWN if then is None else human_duration((now - then).total_seconds())


def human_bytes(n: int) -> str:
    """A size in binary units with about three digits: `512`, `1.5Ki`, `90Mi`, `1.71Gi`."""
    if n < 1024:
        return str(n)
    power = min((n.bit_length() - 1) // 10, len(_UNITS))
    value = n / 1024**power
    text = f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + _UNITS[power - 1]


def parse_bytes(text: str) -> int:
    """Bytes in a size as Kubernetes writes it: `500Gi`, `1.5Ti`, `20G`, `1000`.

    Raises:
        UsageError: It is none of these.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"invalid size {text!r}", hint="write it as 500Gi, 1.5Ti or 20G")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** (_PREFIXES.index(found[2].upper()) + 1 if found[2] else 0))


def human_seconds(seconds: float) -> str:
    """A measured time: `0.42s`, `7.3s`, `64s`, then as an age."""
    if seconds < 1:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    return human_duration(round(seconds))


def plural(count: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
