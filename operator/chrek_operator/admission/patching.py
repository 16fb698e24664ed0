"""The JSON patch (RFC 6902) from one object to another."""

from collections.abc import Mapping
from typing import Any

Operation = dict[str, Any]


def json_diff(before: Any, after: Any, path: str = "") -> list[Operation]:
    """What turns one value into the other. Lists of different lengths are replaced as a whole."""
    if before == after:
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _mapping(before, after, path)
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [step for index, (old, new) in pairs for step in json_diff(old, new, f"{path}/{index}")]
    return [{"op": "replace", "path": path, "value": after}]


def _mapping(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> list[Operation]:
    steps: list[Operation] = [{"op": "remove", "path": f"{path}/{_escape(key)}"} for key in before if key not in after]
    for key, value in after.items():
        here = f"{path}/{_escape(key)}"
        if key in before:
            steps += json_diff(before[key], value, here)
        else:
            steps.append({"op": "add", "path": here, "value": value})
    return steps


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
