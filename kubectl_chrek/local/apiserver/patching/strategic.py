"""Strategic merge patch, as far as kubectl and client libraries use it on built-in kinds."""

from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.schemas.messages import Field, fields, known

_ORDER: Final = "$setElementOrder/"
_REMOVE: Final = "$deleteFromPrimitiveList/"
_RETAIN: Final = "$retainKeys"
_HOW: Final = "$patch"


def strategic_patch(target: Any, patch: Any, message: str) -> Any:
    """The target, of the kind that `message` describes, with the patch merged in.

    Raises:
        ApiError: 400 for a directive or a list item that cannot be used.
    """
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a strategic merge patch is an object")
    return _merge(target if isinstance(target, dict) else {}, patch, message)


def _merge(target: Mapping[str, Any], patch: Mapping[str, Any], message: str) -> dict[str, Any]:
    how = patch.get(_HOW)
    if how == "replace":
        return {key: value for key, value in patch.items() if key != _HOW}
    if how == "delete":
        return {}
    if how not in (None, "merge"):
        raise bad_request(f"Unknown patch type: {how}")
    table = fields(message) if known(message) else {}
    merged = dict(target)
    if _RETAIN in patch:
        merged = {key: value for key, value in merged.items() if key in patch[_RETAIN]}
    for key, value in patch.items():
        if key.startswith(_REMOVE):
            field = key.removeprefix(_REMOVE)
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
        elif key in (_HOW, _RETAIN) or key.startswith(_ORDER):
            continue
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _value(table.get(key), merged.get(key), value)
    return merged


def _value(field: Field | None, old: Any, new: Any) -> Any:
    if isinstance(new, dict):
        return _merge(old if isinstance(old, dict) else {}, new, field.type if field and not field.map else "")
    if isinstance(new, list):
        return _list(field, old if isinstance(old, list) else [], new)
    return new


def _list(field: Field | None, old: list[Any], new: list[Any]) -> list[Any]:
    if any(isinstance(item, dict) and item.get(_HOW) == "replace" for item in new):
        return [item for item in new if item.get(_HOW) != "replace"]
    if field is None or field.key is None:
        return new
    if not field.key:
        return [*old, *(item for item in new if item not in old)]
    merged = {item.get(field.key): item for item in old}
    for item in new:
        if not isinstance(item, dict) or field.key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {field.key}")
        if item.get(_HOW) == "delete":
            merged.pop(item[field.key], None)
        else:
            merged[item[field.key]] = _merge(merged.get(item[field.key], {}), item, field.type)
    return list(merged.values())
