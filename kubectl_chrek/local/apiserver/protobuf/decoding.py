"""A decoder for the protobuf wire format, driven by the table of fields."""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.failures import ApiError, bad_request
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.schemas.messages import ANYTHING, EMBEDDED, Field, known, messages

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPE_META, _RAW = 1, 2
_API_VERSION, _KIND = 1, 2


def decode(data: bytes) -> Body:
    """The object in a request's body. Raises ApiError: 400 for what is no protobuf, 415 for what only JSON can say here."""
    if not data.startswith(_MAGIC):
        raise bad_request("the body does not begin with the magic number of Kubernetes' protobuf")
    try:
        envelope = dict(_wire(data[len(_MAGIC) :]))
        type_meta = dict(_wire(envelope.get(_TYPE_META, b"")))
        kind, api_version = type_meta.get(_KIND, b"").decode(), type_meta.get(_API_VERSION, b"").decode()
        if not known(kind):
            raise _unsupported(f"kind {kind}")
        return {"kind": kind, "apiVersion": api_version} | _message(kind, envelope.get(_RAW, b""))
    except (IndexError, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf in the body is cut off or damaged: {error}") from error


def _unsupported(what: str) -> ApiError:
    message = f"this API server knows no {what} in protobuf; send JSON, as `kubectl apply -f` does"
    return ApiError(415, "UnsupportedMediaType", message)


def _message(name: str, data: bytes) -> Body:
    """A message's fields; zero values of fields that are not optional are left out, as they are in JSON."""
    table, found = {field.number: field for field in messages()[name]}, Body()
    for number, raw in _wire(data):
        field = table.get(number)
        if field is None or field.type == ANYTHING:
            if raw:
                raise _unsupported(f"field {number} of {name}")
        elif field.name == EMBEDDED:
            found |= _message(field.type, raw)
        elif field.map:
            key, value = _entry(field, raw)
            found.setdefault(field.name, {})[key] = value
        elif field.repeated:
            found.setdefault(field.name, []).append(_value(field, raw))
        elif field.type not in "tm":
            value = _value(field, raw)
            if field.optional or value not in ("", 0, False, {}):
                found[field.name] = value
    return found


def _entry(field: Field, raw: bytes) -> tuple[str, Any]:
    parts = dict(_wire(raw))
    return parts.get(1, b"").decode(), _value(field, parts.get(2, b""))


def _value(field: Field, raw: Any) -> Any:
    read = _READERS.get(field.type)
    return read(raw) if read else _message(field.type, raw)


def _quantity(raw: bytes) -> str:
    return str(dict(_wire(raw)).get(1, b"0").decode())


def _either(raw: bytes) -> str | int:
    kind, number, text = (dict(_wire(raw)).get(index) for index in (1, 2, 3))
    return (text or b"").decode() if kind else int(number or 0)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "s": lambda raw: raw.decode(),
    "y": lambda raw: base64.b64encode(raw).decode(),
    "i": lambda raw: raw - 2**64 if raw >= 2**63 else raw,
    "b": bool,
    "q": _quantity,
    "x": _either,
}


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, len(data))
        if position + size > len(data):
            raise IndexError("a field is longer than its message")
        yield number, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
