"""Pruning and defaulting by a structural schema."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_ENVELOPE: Final = frozenset(("apiVersion", "kind", "metadata"))


def prune(schema: Schema, body: dict[str, Any]) -> list[str]:
    """Drops, in place, fields that a custom resource's schema does not know; returns their paths."""
    return list(_prune(schema, body, "", _ENVELOPE))


def fill(schema: Schema, value: Any) -> None:
    """Fills in the schema's defaults, in place, wherever the parent is there; drops nulls that are not allowed."""
    if isinstance(value, dict):
        properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
        others = dict.fromkeys(value.keys() - properties.keys(), additional) if isinstance(additional, Mapping) else {}
        for key, field in {**properties, **others}.items():
            if value.get(key) is None and not field.get("nullable"):
                value.pop(key, None)
            if key not in value and "default" in field:
                value[key] = copy.deepcopy(field["default"])
            if key in value:
                fill(field, value[key])
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            fill(schema["items"], item)


def _prune(schema: Schema, value: Any, path: str, keep: frozenset[str] = frozenset()) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _prune(schema.get("items", {}), item, f"{path}[{index}]")
        return
    if not isinstance(value, dict):
        return
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
    open_ended = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    for key in list(value):
        here = f"{path}.{key}" if path else key
        if key in keep:
            continue
        if key in properties:
            yield from _prune(properties[key], value[key], here)
        elif isinstance(additional, Mapping):
            yield from _prune(additional, value[key], here)
        elif additional is not True and not open_ended:
            del value[key]
            yield here
