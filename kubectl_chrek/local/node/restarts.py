"""When a container is started again. No input or output."""

from typing import Final

_LONGEST: Final = 30
"""In units of the base delay: 5 minutes at the kubelet's 10 seconds."""
HEALTHY_SECONDS: Final = 600.0
"""A container that ran this long starts over with no delay."""


def again(policy: str, code: int, *, init: bool) -> bool:
    """Whether a container that ended with `code` is started again."""
    if code == 0 and (init or policy == "OnFailure"):
        return False
    return policy != "Never"


def delay(base: float, crashes: int) -> float:
    """Seconds to wait after the given number of ends in a row: none at first, then `base`, doubling."""
    return 0.0 if crashes <= 1 else base * min(2 ** (crashes - 2), _LONGEST)


def words(seconds: float) -> str:
    """A delay as the kubelet writes it: `10s`, `1m20s`, `500ms`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
