"""What names, labels and annotations may look like."""

import re
from collections.abc import Iterator
from typing import Any, Final

from kubectl_chrek.local.apiserver.failures import Flaw, invalid, required
from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body

_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_PART: Final = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_PATH_SEGMENT: Final = frozenset(("roles", "rolebindings", "clusterroles", "clusterrolebindings"))

LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_PART_RULE: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def is_label(text: str) -> bool:
    """Whether a text is an RFC 1123 label of at most 63 characters."""
    return len(text) <= 63 and bool(_LABEL.match(text))


def check_metadata(kind: Kind, body: Body) -> list[Flaw]:
    """Flaws of an object's name, labels, annotations, finalizers and owners."""
    metadata = body["metadata"]
    return [
        *_name(kind, metadata.get("name") or ""),
        *_labels(metadata.get("labels") or {}, "metadata.labels"),
        *_annotations(metadata.get("annotations") or {}),
        *_finalizers(metadata.get("finalizers") or []),
        *_owners(metadata.get("ownerReferences") or []),
    ]


def _name(kind: Kind, name: str) -> Iterator[Flaw]:
    path = "metadata.name"
    if not name:
        yield required(path, "name or generateName is required")
    elif kind.resource in _PATH_SEGMENT:
        if "/" in name or "%" in name or name in (".", ".."):
            yield invalid(path, name, "may not contain '/'")
    elif kind.resource in ("namespaces", "services"):
        if not is_label(name):
            yield invalid(path, name, LABEL_RULE)
    elif len(name) > 253:
        yield invalid(path, name, "must be no more than 253 characters")
    elif not _SUBDOMAIN.match(name):
        yield invalid(path, name, _SUBDOMAIN_RULE)
    elif kind.resource == "jobs.batch" and len(name) > 63:
        yield invalid("spec.template.labels", name, "must be no more than 63 characters")


def _labels(labels: dict[str, Any], path: str) -> Iterator[Flaw]:
    for key, value in labels.items():
        yield from _key(key, path)
        if len(value) > 63:
            yield invalid(path, value, "must be no more than 63 characters")
        elif not _VALUE.match(value):
            yield invalid(path, value, _VALUE_RULE)


def _annotations(annotations: dict[str, Any]) -> Iterator[Flaw]:
    path = "metadata.annotations"
    for key in annotations:
        yield from _key(key.lower(), path)
    if sum(len(key) + len(value) for key, value in annotations.items()) > 256 * 1024:
        yield Flaw(path, "FieldValueTooLong", "Too long: may not be more than 262144 bytes")


def _key(key: str, path: str) -> Iterator[Flaw]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.match(prefix):
        yield invalid(path, key, f"prefix part {_SUBDOMAIN_RULE}")
    elif not name:
        yield invalid(path, key, "name part must be non-empty")
    elif len(name) > 63:
        yield invalid(path, key, "name part must be no more than 63 characters")
    elif not _PART.match(name):
        yield invalid(path, key, _PART_RULE)


def _finalizers(finalizers: list[str]) -> Iterator[Flaw]:
    for finalizer in finalizers:
        if "/" not in finalizer and finalizer not in ("foregroundDeletion", "orphan", "kubernetes"):
            rule = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid("metadata.finalizers", finalizer, rule)
        else:
            yield from _key(finalizer, "metadata.finalizers")


def _owners(owners: list[Body]) -> Iterator[Flaw]:
    for owner in owners:
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                rule = "version must not be empty" if key == "apiVersion" else "must not be empty"
                yield invalid(f"metadata.ownerReferences.{key}", "", rule)
    if sum(1 for owner in owners if owner.get("controller")) > 1:
        rule = "Only one reference can have Controller set to true"
        yield invalid("metadata.ownerReferences", "", rule)
