"""A retention policy as a line of `gc`'s flags, and back."""

import shlex
from dataclasses import replace
from typing import Any, Final

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.durations import parse_duration
from kubectl_chrek.ops.formatting import human_bytes, human_duration, parse_bytes
from kubectl_chrek.ops.retention import Policy

DEFAULT: Final = Policy(unreferenced=True, failed=True, orphans=True)
"""What the plan is of when nobody says otherwise."""
RULES: Final = ("unreferenced", "failed", "orphans", "incompatible")
"""Those that a key turns on and off."""
_SWITCHES: Final = {f"--{rule}": rule for rule in RULES} | {"--all": "everything"}
_VALUES: Final = {
    "--keep-last": "keep_last",
    "--keep-within": "keep_within",
    "--older-than": "older_than",
    "--max-bytes": "max_bytes",
    "--low-bytes": "low_bytes",
}


def parse_policy(line: str) -> Policy:
    """The policy that flags spell, as after `kubectl chrek gc`; the default one without any.

    Raises:
        UsageError: A flag is unknown or lacks its value, or they contradict each other.
    """
    try:
        words = iter(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"cannot read {line!r}: {error}") from error
    given: dict[str, Any] = {}
    names: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in _SWITCHES and not equals:
            given[_SWITCHES[flag]] = True
        elif flag in _VALUES:
            given[_VALUES[flag]] = _value(flag, value if equals else next(words, ""))
        elif flag.startswith("-"):
            raise UsageError(f"unknown flag {flag}", hint=f"one of {', '.join((*_SWITCHES, *_VALUES))}")
        else:
            names.append(word)
    if not given and not names:
        return DEFAULT
    policy = Policy(names=tuple(dict.fromkeys(names)), **given)
    policy.check()
    return policy


def policy_text(policy: Policy) -> str:
    """The flags that spell it; empty when it says nothing."""
    words = [*policy.names, *(flag for flag, name in _SWITCHES.items() if getattr(policy, name))]
    for flag, name in _VALUES.items():
        value = getattr(policy, name)
        if value is not None:
            words += [flag, _spelled(flag, value)]
    return " ".join(words)


def toggled(policy: Policy, rule: str) -> Policy:
    """The same policy with one of `RULES` turned on or off."""
    change: dict[str, Any] = {rule: not getattr(policy, rule)}
    return replace(policy, **change)


def _value(flag: str, text: str) -> float | int:
    if not text:
        raise UsageError(f"{flag}: give a value")
    if flag == "--keep-last":
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{flag}: expected a whole number, got {text!r}")
        return int(text)
    return parse_bytes(text) if flag.endswith("-bytes") else parse_duration(text)


def _spelled(flag: str, value: float) -> str:
    if flag == "--keep-last":
        return str(value)
    return human_bytes(int(value)) if flag.endswith("-bytes") else human_duration(value)
