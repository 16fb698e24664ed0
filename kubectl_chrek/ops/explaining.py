"""`hash --explain` and `hash --diff`: what each field of an identity contributes to its hash, and where two identities part."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

from kubectl_chrek.api.identity import FIELDS, Identity

_UNSET: Final[dict[str, Any]] = {
    "dynamoVersion": {"dynamo_version": ""},
    "tensorParallelSize": {"tensor_parallel_size": 1},
    "pipelineParallelSize": {"pipeline_parallel_size": 1},
    "dtype": {"dtype": ""},
    "maxModelLen": {"max_model_len": 0},
}
"""How the optional fields are when nobody gives them."""
_EXTRA: Final = "extraParameters"


@dataclass(frozen=True, slots=True)
class Contribution:
    """One field of an identity. `without` is the hash if it were not given, empty where it must be; `value` None: not given."""

    field: str
    value: object
    hashed: bool
    without: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {"field": self.field, "value": self.value, "hashed": self.hashed, "hashWithout": self.without}


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two things differ; None: not given there."""

    field: str
    left: object
    right: object

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {"field": self.field, "left": self.left, "right": self.right}


def contributions(identity: Identity) -> list[Contribution]:
    """All fields in the order in which they are hashed; each extra parameter is one."""
    spec = identity.to_spec()
    found = []
    for field in FIELDS[:-1]:
        unset = _UNSET.get(field)
        without = replace(identity, **unset).hash if unset else ""
        found.append(Contribution(field, spec.get(field), field in spec, without))
    for key, value in sorted(identity.extra_parameters.items(), key=lambda item: item[0].encode()):
        rest = {name: text for name, text in identity.extra_parameters.items() if name != key}
        found.append(Contribution(f"{_EXTRA}.{key}", value, hashed=True, without=replace(identity, extra_parameters=rest).hash))
    if not identity.extra_parameters:
        found.append(Contribution(_EXTRA, None, hashed=False))
    return found


def digest(identity: Identity) -> str:
    """The whole SHA-256 whose beginning is the hash, in hex."""
    return hashlib.sha256(identity.canonical().encode()).hexdigest()


def differences(left: Identity, right: Identity) -> list[Difference]:
    """The fields that differ, in the order in which they are hashed; empty when the hashes are the same."""
    before, after = _flat(left), _flat(right)
    order = list(dict.fromkeys([*before, *after]))
    return [Difference(field, before.get(field), after.get(field)) for field in order if before.get(field) != after.get(field)]


def _flat(identity: Identity) -> dict[str, object]:
    spec = identity.to_spec()
    extra = {f"{_EXTRA}.{key}": value for key, value in sorted(identity.extra_parameters.items())}
    return {field: spec.get(field) for field in FIELDS[:-1]} | extra
