"""Command lines compared as an engine's parser would read them: the order of different flags says nothing."""

from collections.abc import Sequence
from itertools import takewhile

_SHOWN = 3


def differences(captured: Sequence[str], here: Sequence[str]) -> list[str]:
    """What differs, in words; empty when both start the same worker.

    `--name=value` is `--name value`. Flags may stand in any order, but one that is repeated keeps the order of its values. The
    words before the first flag, and everything once there is a shell's line or a bare `--`, must be letter for letter the same.
    """
    if list(captured) == list(here):
        return []
    if not (_simple(captured) and _simple(here)):
        return [f"captured with {_shown(captured)}, here {_shown(here)}"]
    before, now = _words(captured), _words(here)
    found = [] if before == now else [f"captured with {_shown(before)}, here {_shown(now)}"]
    old, new = _flags(captured[len(before) :]), _flags(here[len(now) :])
    changed = (name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name))
    found += [f"captured {_spelled(name, old)}, here {_spelled(name, new)}" for name in changed]
    return found[:_SHOWN] + ([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])


def _simple(words: Sequence[str]) -> bool:
    return "--" not in words and not any(character.isspace() for word in words for character in word)


def _words(words: Sequence[str]) -> list[str]:
    """Those before the first flag."""
    return list(takewhile(lambda word: not word.startswith("-"), words))


def _flags(words: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    """Each flag's values, once for every time that it is given."""
    found: dict[str, list[tuple[str, ...]]] = {}
    values: list[str] = []
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        # A negative number is a value.
        if word.startswith("-") and not word[1:2].isdigit():
            name, equals, value = word.partition("=")
            values = [value] if equals else []
            groups.append((name, values))
        else:
            values.append(word)
    for name, given in groups:
        found.setdefault(name, []).append(tuple(given))
    return found


def _spelled(name: str, flags: dict[str, list[tuple[str, ...]]]) -> str:
    if name not in flags:
        return f"without {name}"
    return "with " + " ".join(word for given in flags[name] for word in (name, *given))


def _shown(words: Sequence[str]) -> str:
    line = " ".join(words)
    return f"{line[:157]}..." if len(line) > 160 else line or "nothing"
