"""The types of built-in objects' fields: a real server decodes into Go structs, and so refuses or drops what does not fit."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body, moment
from kubectl_chrek.local.apiserver.schemas.messages import ANYTHING, Field, fields, known
from kubectl_chrek.local.apiserver.schemas.quantities import canonical

_MICRO: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$")
_QUANTITY: Final = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$")
_QUANTITY_RULE: Final = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_OR_BOOL: Final = {"JSONSchemaPropsOrBool": "JSONSchemaProps"}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TESTS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "s": ("string", lambda value: isinstance(value, str)),
    "i": ("int64", _whole),
    "n": ("float64", _number),
    "b": ("bool", lambda value: isinstance(value, bool)),
    "y": ("[]uint8", lambda value: isinstance(value, str)),
    "t": ("v1.Time", lambda value: isinstance(value, str) and moment(value) is not None),
    "m": ("v1.MicroTime", lambda value: isinstance(value, str) and bool(_MICRO.match(value))),
    "q": ("resource.Quantity", lambda value: _number(value) or (isinstance(value, str) and bool(_QUANTITY.match(value)))),
    "x": ("intstr.IntOrString", lambda value: _whole(value) or isinstance(value, str)),
}


def decode(kind: Kind, body: Body) -> list[str]:
    """Drops, in place, unknown fields, nulls and empty lists; returns the paths of the unknown ones.

    Of a custom resource only the metadata is looked at: its schema tells the rest.

    Raises:
        ApiError: A field has a wrong type (400).
    """
    unknown: list[str] = []
    try:
        if known(kind.kind) and not kind.custom:
            _object(kind.kind, body, "", unknown, skip=frozenset(("kind", "apiVersion")))
        else:
            _object("ObjectMeta", body["metadata"], "metadata", unknown)
    except _MistypedError as error:
        message = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}'
        raise bad_request(message) from error
    return unknown


class _MistypedError(Exception):
    """A field has a wrong type."""


def _object(message: str, body: Any, path: str, unknown: list[str], skip: frozenset[str] = frozenset()) -> None:
    table = fields(message)
    for key in list(body):
        here = f"{path}.{key}" if path else key
        if key in skip:
            continue
        if key not in table:
            del body[key]
            unknown.append(here)
        elif body[key] is None or (body[key] in ([], {}) and (table[key].repeated or table[key].map)):
            del body[key]
        else:
            body[key] = _value(message, table[key], body[key], here, unknown)


def _value(message: str, field: Field, value: Any, path: str, unknown: list[str]) -> Any:
    if field.repeated:
        _expect(isinstance(value, list), message, path, value, f"[]{field.type}")
        return [_single(message, field, item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if field.map:
        _expect(isinstance(value, dict), message, path, value, f"map[string]{field.type}")
        return {key: _single(message, field, item, f"{path}[{key}]", unknown) for key, item in value.items()}
    return _single(message, field, value, path, unknown)


def _single(message: str, field: Field, value: Any, path: str, unknown: list[str]) -> Any:
    if field.type == ANYTHING:
        return value
    if field.type in _TESTS:
        name, test = _TESTS[field.type]
        _expect(test(value), message, path, value, name)
        return canonical(value) if field.type == "q" else value
    if field.type in _OR_BOOL and isinstance(value, bool):
        return value
    _expect(isinstance(value, dict), message, path, value, field.type)
    _object(_OR_BOOL.get(field.type, field.type), value, path, unknown)
    return value


def _expect(holds: bool, message: str, path: str, value: Any, wanted: str) -> None:
    if holds:
        return
    if isinstance(value, str) and wanted in ("v1.Time", "v1.MicroTime"):
        layout = "2006-01-02T15:04:05.000000Z07:00" if wanted == "v1.MicroTime" else "2006-01-02T15:04:05Z07:00"
        raise _MistypedError(f'parsing time "{value}" as "{layout}": cannot parse')
    if isinstance(value, str) and wanted == "resource.Quantity":
        raise _MistypedError(f"quantities must match the regular expression '{_QUANTITY_RULE}'")
    found = {str: "string", bool: "bool", dict: "object", list: "array", type(None): "null"}.get(type(value), "number")
    plain = re.sub(r"\[[^\]]*\]", "", path)
    raise _MistypedError(f"json: cannot unmarshal {found} into Go struct field {message}.{plain} of type {wanted}")
