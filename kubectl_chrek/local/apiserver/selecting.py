"""Label and field selectors."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body, dig

Test = Callable[[Body], bool]

_SET: Final = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<word>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUAL: Final = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<sign>==|=|!=)\s*(?P<value>[^\s,()=!]*)$")
_BARE: Final = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=,()]+)$")
_COMMA: Final = re.compile(r",(?![^(]*\))")

_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "pods": frozenset(
        (
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        )
    ),
    "events": frozenset(
        (
            *(
                f"involvedObject.{key}"
                for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
            ),
            "reason",
            "reportingComponent",
            "source",
            "type",
        )
    ),
    "namespaces": frozenset(("status.phase",)),
    "nodes": frozenset(("spec.unschedulable",)),
    "secrets": frozenset(("type",)),
    "jobs.batch": frozenset(("status.successful",)),
    "replicasets.apps": frozenset(("status.replicas",)),
}


def selector(kind: Kind, labels: str, fields: str) -> Test:
    """A test for both selectors. Raises ApiError (400) for one that cannot be read or a field that cannot be selected by."""
    tests = [_label(term.strip()) for term in _COMMA.split(labels) if term.strip()]
    tests += [_field(kind, term.strip()) for term in fields.split(",") if term.strip()]
    return lambda body: all(test(body) for test in tests)


def _label(term: str) -> Test:
    if found := _SET.match(term):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["word"] == "in":
            return lambda body: _labels(body).get(key) in values
        return lambda body: _labels(body).get(key) not in values
    if found := _EQUAL.match(term):
        key, value = found["key"], found["value"]
        if found["sign"] == "!=":
            return lambda body: _labels(body).get(key) != value
        return lambda body: _labels(body).get(key) == value
    if found := _BARE.match(term):
        key, wanted = found["key"], not found["no"]
        return lambda body: (key in _labels(body)) is wanted
    raise bad_request(f"unable to parse requirement: {term}")


def _field(kind: Kind, term: str) -> Test:
    found = _EQUAL.match(term)
    if not found:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    key, value, equal = found["key"], found["value"], found["sign"] != "!="
    allowed = {"metadata.name", "metadata.namespace"} if kind.namespaced else {"metadata.name"}
    if key not in allowed | _FIELDS.get(kind.resource, frozenset()):
        raise bad_request(f"field label not supported: {key}")
    path = ("source", "component") if key == "source" else tuple(key.split("."))
    return lambda body: (_text(dig(body, *path)) == value) is equal


def _labels(body: Body) -> Mapping[str, Any]:
    return dig(body, "metadata", "labels") or {}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
