"""JSON patch (RFC 6902)."""

import copy
from typing import Any

from kubectl_chrek.local.apiserver.failures import ApiError, bad_request


def json_patch(target: Any, patch: Any) -> Any:
    """The target after all operations. Raises ApiError: 400 for no patch at all, 422 when an operation cannot be done."""
    if not isinstance(patch, list) or not all(isinstance(step, dict) and "op" in step and "path" in step for step in patch):
        raise bad_request("error decoding patch: a JSON patch is a list of operations with op and path")
    document = copy.deepcopy(target)
    for step in patch:
        try:
            document = _apply(document, step)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request") from error
    return document


def _apply(document: Any, step: dict[str, Any]) -> Any:
    operation, path = step["op"], _split(step["path"])
    match operation:
        case "add":
            return _set(document, path, copy.deepcopy(step["value"]), replace=False)
        case "replace":
            _get(document, path)
            return _set(document, path, copy.deepcopy(step["value"]), replace=True)
        case "remove":
            return _remove(document, path)
        case "test":
            if _get(document, path) != step.get("value"):
                raise ValueError("test failed")
            return document
        case "copy":
            return _set(document, path, copy.deepcopy(_get(document, _split(step["from"]))), replace=False)
        case "move":
            source = _split(step["from"])
            value = _get(document, source)
            return _set(_remove(document, source), path, value, replace=False)
        case _:
            raise bad_request(f"Unexpected kind: {operation}")


def _split(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError("a JSON pointer begins with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[_index(document, part)] if isinstance(document, list) else document[part]
    return document


def _index(items: list[Any], part: str) -> int:
    index = int(part)
    if index < 0:
        index += len(items)
    if not 0 <= index < len(items):
        raise IndexError(f"index {part} out of bounds")
    return index


def _set(document: Any, path: list[str], value: Any, *, replace: bool) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif replace:
        parent[_index(parent, last)] = value
    elif 0 <= int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise IndexError(f"index {last} out of bounds")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[_index(parent, last)]
    else:
        del parent[last]
    return document
