"""The CEL rules of our own definitions, by their text: there is no CEL interpreter here."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.schemas.shape import Schema

_Rule = Callable[[Any, Any], bool]


def _unchanged(value: Any, old: Any) -> bool:
    return bool(value == old)


def _names_a_checkpoint(value: Any, _old: Any) -> bool:
    return not value.get("enabled") or bool(value.get("checkpointRef")) or "identity" in value


_HOLDS: Final[Mapping[str, _Rule]] = {
    "self == oldSelf": _unchanged,
    (
        "!has(self.enabled) || !self.enabled || (has(self.checkpointRef) && size(self.checkpointRef) > 0) || has(self.identity)"
    ): _names_a_checkpoint,
}


def broken(rule: str, value: Any, old: Any) -> bool:
    """Whether a value breaks a rule; one that speaks of oldSelf holds where there is nothing old."""
    if "oldSelf" in rule and old is None:
        return False
    return not _HOLDS[rule](value, old)


def unknown(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """The path and text of every rule that cannot be checked here."""
    for index, rule in enumerate(schema.get("x-kubernetes-validations", ())):
        if rule.get("rule") not in _HOLDS:
            yield f"{path}.x-kubernetes-validations[{index}].rule", str(rule.get("rule"))
    for key, field in (schema.get("properties") or {}).items():
        yield from unknown(field, f"{path}.properties[{key}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from unknown(schema[key], f"{path}.{key}")
