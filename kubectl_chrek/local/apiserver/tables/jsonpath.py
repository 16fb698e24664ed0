"""The JSONPath that printer columns use: keys, quoted keys, indices, wildcards, and filters for equality."""

import re
from typing import Any, Final

_STEP: Final = re.compile(
    r"""\.(?P<key>(?:\\.|[^.\[\\])+)
      |\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      |\[(?P<index>-?\d+|\*)\]
      |\[\?\(@(?P<left>[^=\s]+)\s*==\s*(?P<right>"[^"]*"|'[^']*'|\w+)\s*\)\]""",
    re.VERBOSE,
)


def find(path: str, body: Any) -> list[Any]:
    """All values at a path; none if the path does not lead anywhere or cannot be read."""
    values, position = [body], 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return []
        values = [found for value in values for found in _take(step, value)]
        position = step.end()
    return values


def _take(step: re.Match[str], value: Any) -> list[Any]:
    key = step["quoted"] if step["quoted"] is not None else step["key"]
    if key is not None:
        key = re.sub(r"\\(.)", r"\1", key)
        return [value[key]] if isinstance(value, dict) and key in value else []
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list):
        return []
    if step["index"] == "*":
        return items
    if step["index"] is not None:
        index = int(step["index"])
        return [items[index]] if -len(items) <= index < len(items) else []
    wanted = step["right"].strip("\"'")
    return [item for item in items if any(_text(found) == wanted for found in find(step["left"], item))]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
