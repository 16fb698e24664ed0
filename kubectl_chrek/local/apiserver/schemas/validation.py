"""Validation of a value against a structural schema, with the API server's words."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.failures import Flaw, invalid, quote, required, too_many, unsupported
from kubectl_chrek.local.apiserver.objects import moment
from kubectl_chrek.local.apiserver.schemas.rules import broken
from kubectl_chrek.local.apiserver.schemas.shape import Schema

_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_MISSING: Final = object()
_BLOCKING: Final = frozenset(
    ("FieldValueRequired", "FieldValueTypeInvalid", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany")
)
_UNCHECKED: Final = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def validate(schema: Schema, value: Any, old: Any = None, path: str = "") -> list[Flaw]:
    """All that is wrong with a value; `old` is the value it replaces, None if there is none."""
    flaws = list(_shape(schema, value, path))
    if not flaws:
        return list(_rules(schema, value, old, path))
    if any(flaw.reason in _BLOCKING for flaw in flaws) and _has_rules(schema):
        flaws.append(Flaw("<nil>", "FieldValueInvalid", _UNCHECKED))
    return flaws


def _shape(schema: Schema, value: Any, path: str) -> Iterator[Flaw]:
    if value is None and schema.get("nullable"):
        return
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _mistyped(path, "integer,string", value)
        return
    wanted = schema.get("type")
    if wanted and not _is(wanted, value):
        yield _mistyped(path, wanted, value)
        return
    if isinstance(value, dict):
        yield from _object(schema, value, path)
    elif isinstance(value, list):
        yield from _array(schema, value, path)
    elif isinstance(value, str):
        yield from _string(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(schema, value, path)
    yield from _combined(schema, value, path)
    if "enum" in schema and value not in schema["enum"]:
        yield unsupported(path, value, schema["enum"])


def _combined(schema: Schema, value: Any, path: str) -> Iterator[Flaw]:
    def count(key: str) -> int:
        return sum(1 for part in schema[key] if not list(_shape(part, value, path)))

    for part in schema.get("allOf", ()):
        yield from _shape(part, value, path)
    if "anyOf" in schema and not count("anyOf"):
        yield invalid(path, "", f"{path} in body must validate at least one schema (anyOf)")
    if "oneOf" in schema and count("oneOf") != 1:
        yield invalid(path, "", f"{path} in body must validate one and only one schema (oneOf)")
    if "not" in schema and not list(_shape(schema["not"], value, path)):
        yield invalid(path, "", f"{path} in body must not validate the schema (not)")


def _is(wanted: str, value: Any) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[wanted])


def _mistyped(path: str, wanted: str, value: Any) -> Flaw:
    found = "null" if value is None else next((name for name in _TYPES if _is(name, value)), "object")
    return Flaw(
        path, "FieldValueTypeInvalid", f"Invalid value: {quote(found)}: {path} in body must be of type {wanted}: {quote(found)}"
    )


def _object(schema: Schema, value: dict[str, Any], path: str) -> Iterator[Flaw]:
    for key in schema.get("required", ()):
        if key not in value:
            yield required(_join(path, key))
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        yield too_many(path, len(value), most)
    if least is not None and len(value) < least:
        yield invalid(path, "object", f"{path} in body should have at least {least} properties")
    for key, field, item in _children(schema, value):
        yield from _shape(field, item, _join(path, key))


def _array(schema: Schema, value: list[Any], path: str) -> Iterator[Flaw]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        yield too_many(path, len(value), most)
    if least is not None and len(value) < least:
        yield invalid(path, len(value), f"{path} in body should have at least {least} items")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: list[Any] = []
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        yield from _shape(schema.get("items", {}), item, here)
        identity = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else _MISSING
        if schema.get("x-kubernetes-list-type") == "set":
            identity = item
        if identity is not _MISSING and identity in seen:
            shown = json.dumps(identity, separators=(",", ":"))
            yield Flaw(here, "FieldValueDuplicate", f"Duplicate value: {shown}")
        seen.append(identity)


def _string(schema: Schema, value: str, path: str) -> Iterator[Flaw]:
    most, least = schema.get("maxLength"), schema.get("minLength")
    if most is not None and len(value) > most:
        yield Flaw(path, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")
    if least is not None and len(value) < least:
        yield invalid(path, value, f"{path} in body should be at least {least} chars long")
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        yield invalid(path, value, f"{path} in body should match '{pattern}'")
    if schema.get("format") == "date-time" and moment(value) is None:
        yield invalid(path, value, f"{path} in body must be of type date-time: {quote(value)}")


def _number(schema: Schema, value: float, path: str) -> Iterator[Flaw]:
    most, least, factor = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if most is not None and value > most:
        yield invalid(path, value, f"{path} in body should be less than or equal to {most}")
    if least is not None and value < least:
        yield invalid(path, value, f"{path} in body should be greater than or equal to {least}")
    if factor is not None and value % factor:
        yield invalid(path, value, f"{path} in body should be a multiple of {factor}")
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits and not -(2**bits) <= value < 2**bits:
        yield invalid(path, value, f"{path} in body must be of type {schema['format']}: {quote(str(value))}")


def _rules(schema: Schema, value: Any, old: Any, path: str) -> Iterator[Flaw]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if broken(rule["rule"], value, old):
            yield invalid(path, "object", rule.get("message") or f"failed rule: {rule['rule']}")
    if isinstance(value, dict):
        for key, field, item in _children(schema, value):
            here = _join(path, key) if key in schema.get("properties", {}) else f"{path}[{key}]"
            yield from _rules(field, item, old.get(key) if isinstance(old, dict) else None, here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _rules(schema.get("items", {}), item, None, f"{path}[{index}]")


def _has_rules(schema: Schema) -> bool:
    parts = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return bool(schema.get("x-kubernetes-validations")) or any(_has_rules(part) for part in parts if isinstance(part, Mapping))


def _children(schema: Schema, value: dict[str, Any]) -> Iterator[tuple[str, Schema, Any]]:
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
    for key, item in value.items():
        if key in properties:
            yield key, properties[key], item
        elif isinstance(additional, dict):
            yield key, additional, item


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
