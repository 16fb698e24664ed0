"""Server-side apply: who applied what, what of it conflicts, and the merged result."""

from collections.abc import Mapping
from typing import Any

from kubectl_chrek.local.apiserver.failures import ApiError
from kubectl_chrek.local.apiserver.objects import Body, clone
from kubectl_chrek.local.apiserver.patching.fields import Path, Shape, owned

_Fields = dict[Path, Any]


def apply(live: Body, applied: Body, shape: Shape, before: Body | None, others: Mapping[str, Body], *, force: bool) -> Body:
    """The live object with a configuration applied.

    Args:
        live: The object as it is.
        applied: The configuration.
        shape: How its lists are merged.
        before: What the same manager applied last; what it leaves out now is removed, unless somebody changed or applied it too.
        others: What other managers applied last, by manager.
        force: Whether to take over what others applied differently.

    Raises:
        ApiError: 409 when others applied other values and `force` is not set.
    """
    now = _fields(applied, shape)
    theirs = {manager: _fields(body, shape) for manager, body in others.items()}
    if not force:
        _refuse_conflicts(now, theirs)
    result = clone(live)
    kept = {path for fields in theirs.values() for path in fields}
    for path, value in sorted(_fields(before, shape).items(), key=lambda pair: -len(pair[0])) if before else ():
        if path not in now and path not in kept:
            _remove(result, shape, path, value)
    merged: Body = _merge(result, applied, shape)
    return merged


def _fields(body: Body, shape: Shape) -> _Fields:
    relevant = {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}
    metadata = {key: value for key, value in (body.get("metadata") or {}).items() if key not in ("name", "namespace", "uid")}
    return dict(owned(relevant | {"metadata": metadata}, shape))


def _refuse_conflicts(now: _Fields, theirs: Mapping[str, _Fields]) -> None:
    found = [
        (manager, path)
        for manager, fields in theirs.items()
        for path, value in fields.items()
        if path and path in now and now[path] != value and path != ("metadata",)
    ]
    if not found:
        return
    listed = "".join(f'\nconflict with "{manager}": {_text(path)}' for manager, path in found)
    number = f"{len(found)} conflict{'s' if len(found) > 1 else ''}"
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": _text(path)} for manager, path in found
    ]
    text = listed.removeprefix("\n") if len(found) == 1 else listed
    raise ApiError(409, "Conflict", f"Apply failed with {number}: {text}", {"causes": causes})


def _merge(live: Any, applied: Any, shape: Shape) -> Any:
    if isinstance(applied, dict) and isinstance(live, dict) and not shape.atomic:
        merged = dict(live)
        for key, value in applied.items():
            field = shape.field(key)
            merged[key] = _merge(live[key], value, field) if key in live else value
        return merged
    if isinstance(applied, list) and isinstance(live, list) and shape.identity is not None:
        items = {shape.identity(item): item for item in live}
        for item in applied:
            identity = shape.identity(item)
            items[identity] = _merge(items[identity], item, shape.item()) if identity in items else item
        return list(items.values())
    return applied


def _remove(body: Any, shape: Shape, path: Path, value: Any) -> None:
    """Takes a leaf out in place, and the maps that thereby become empty; a value somebody changed since stays."""
    step, rest = path[0], path[1:]
    if isinstance(body, dict) and isinstance(step, str) and step in body:
        if rest:
            _remove(body[step], shape.field(step), rest, value)
            if body[step] in ({}, []):
                del body[step]
        elif body[step] == value:
            del body[step]
    elif isinstance(body, list) and shape.identity is not None:
        for index, item in enumerate(body):
            if shape.identity(item) != step:
                continue
            if rest:
                _remove(item, shape.item(), rest, value)
            else:
                del body[index]
            return


def _text(path: Path) -> str:
    parts = []
    for step in path:
        if isinstance(step, str):
            parts.append(f".{step}")
        else:
            parts.append("[" + ",".join(f'{key}="{value}"' for key, value in step) + "]")
    return "".join(parts)
