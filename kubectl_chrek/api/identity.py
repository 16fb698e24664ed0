"""A checkpoint's identity and its 16-character hash, bit for bit as the Dynamo operator computes it (its version 2).

Source: `ComputeIdentityHash` of the Dynamo operator: Go's `encoding/json` over a struct in declaration order, SHA-256, first
16 hex characters. Strings are hashed as they are: nothing is trimmed, folded or mapped.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from kubectl_chrek.api.errors import IdentityError

FRAMEWORKS: Final = ("vllm", "sglang", "trtllm")
HASH_LENGTH: Final = 16
INT32_MAX: Final = 2**31 - 1

# Older spellings that users meet in documents: spelling -> the field's name in the CRD.
ALIASES: Final = {"framework": "backendFramework", "frameworkVersion": "dynamoVersion"}
FIELDS: Final = (
    "model",
    "backendFramework",
    "dynamoVersion",
    "tensorParallelSize",
    "pipelineParallelSize",
    "dtype",
    "maxModelLen",
    "extraParameters",
)
_FIELDS: Final = frozenset(FIELDS)

# Go escapes these five inside strings; json.dumps leaves them raw. None of them can occur outside a string.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_GO_ESCAPES: Final = str.maketrans({"&": "\\u0026", "<": "\\u003c", ">": "\\u003e", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two workers' states interchangeable. Sizes are counts (0 or unset means 1), `max_model_len` is in tokens."""

    model: str
    framework: str
    dynamo_version: str = ""
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    dtype: str = ""
    max_model_len: int = 0
    extra_parameters: Mapping[str, str] = field(default_factory=dict)

    def to_spec(self) -> dict[str, object]:
        """The identity as `spec.identity` of a DynamoCheckpoint, in the CRD's spelling; unset fields are left out."""
        spec: dict[str, object] = {"model": self.model, "backendFramework": self.framework}
        if self.dynamo_version:
            spec["dynamoVersion"] = self.dynamo_version
        spec["tensorParallelSize"] = self.tensor_parallel_size or 1
        spec["pipelineParallelSize"] = self.pipeline_parallel_size or 1
        if self.dtype:
            spec["dtype"] = self.dtype
        if self.max_model_len:
            spec["maxModelLen"] = self.max_model_len
        if self.extra_parameters:
            spec["extraParameters"] = dict(self.extra_parameters)
        return spec

    def canonical(self) -> str:
        """The JSON that is hashed. Key order is the Go struct's; only the keys of `extraParameters` are sorted, by UTF-8 bytes."""
        spec = self.to_spec()
        if self.extra_parameters:
            spec["extraParameters"] = dict(sorted(self.extra_parameters.items(), key=lambda item: item[0].encode()))
        return _go_json(spec)

    @property
    def hash(self) -> str:
        """First 16 hex characters of the SHA-256 of `canonical()`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:HASH_LENGTH]


def _go_json(value: object) -> str:
    """`value` as json.Marshal of Go >= 1.22 writes it: compact, five characters more escaped than Python does."""
    return _ENCODER.encode(value).translate(_GO_ESCAPES)


def parse_identity(spec: object, *, where: str = "identity") -> Identity:
    """Reads `spec.identity` as users write it: the CRD's spelling or an older one.

    Args:
        spec: A mapping, as parsed from YAML or JSON.
        where: How messages name it.

    Raises:
        IdentityError: A required field is missing, a value is of the wrong type or range, a field is unknown, or two spellings
            of one field disagree.
    """
    if not isinstance(spec, Mapping):
        raise IdentityError(where, "expected a mapping of fields", hint=f"known fields: {', '.join(FIELDS)}")
    values = _canonical_names(spec, where)
    return Identity(
        model=_required(values, "model", where),
        framework=_framework(values, where),
        dynamo_version=_string(values, "dynamoVersion", where),
        tensor_parallel_size=_size(values, "tensorParallelSize", where) or 1,
        pipeline_parallel_size=_size(values, "pipelineParallelSize", where) or 1,
        dtype=_string(values, "dtype", where),
        max_model_len=_size(values, "maxModelLen", where),
        extra_parameters=_extra(values, where),
    )


def _canonical_names(spec: Mapping[object, object], where: str) -> dict[str, object]:
    if _FIELDS.issuperset(spec):
        return {str(key): value for key, value in spec.items() if value is not None}
    values: dict[str, object] = {}
    spelled: dict[str, str] = {}
    for key, value in spec.items():
        name = ALIASES.get(str(key), str(key))
        if name not in FIELDS:
            raise IdentityError(f"{where}.{key}", "unknown field", hint=f"known fields: {', '.join(FIELDS)}")
        if name in values and values[name] != value:
            raise IdentityError(f"{where}.{key}", f"differs from {spelled[name]}, which is the same field: give one of them")
        values[name], spelled[name] = value, str(key)
    return {key: value for key, value in values.items() if value is not None}


def _string(values: Mapping[str, object], name: str, where: str) -> str:
    value = values.get(name, "")
    # Ten thousand of them are read at once: where it is about is put into words only for who has to be told.
    return value if type(value) is str and value.isascii() else _text(value, f"{where}.{name}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        shown = value if isinstance(value, date) else repr(value)
        raise IdentityError(where, f"expected a string, got {shown}", hint="put it in quotes")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise IdentityError(where, "is not valid UTF-8")
    return value


def _required(values: Mapping[str, object], name: str, where: str) -> str:
    value = _string(values, name, where)
    if not value:
        raise IdentityError(f"{where}.{name}", "is required and must not be empty")
    return value


def _framework(values: Mapping[str, object], where: str) -> str:
    value = _required(values, "backendFramework", where)
    if value not in FRAMEWORKS:
        raise IdentityError(f"{where}.backendFramework", f"unknown framework {value!r}", hint=f"one of {', '.join(FRAMEWORKS)}")
    return value


def _size(values: Mapping[str, object], name: str, where: str) -> int:
    value = values.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise IdentityError(f"{where}.{name}", f"expected a whole number, got {value!r}")
    if not 0 <= value <= INT32_MAX:
        hint = "leave it out for the default"
        raise IdentityError(f"{where}.{name}", f"must be between 1 and {INT32_MAX}, got {value}", hint=hint)
    return value


def _extra(values: Mapping[str, object], where: str) -> dict[str, str]:
    extra = values.get("extraParameters")
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise IdentityError(f"{where}.extraParameters", f"expected a mapping of strings, got {extra!r}")
    place = f"{where}.extraParameters"
    return {_text(key, f"{place}, key {key!r}"): _text(value, f"{place}.{key}") for key, value in extra.items()}
