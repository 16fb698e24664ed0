"""Facts about raw objects that several planners need."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.identity import HASH_LENGTH

LABEL_LIMIT: Final = 63
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
_NAME_LIMIT: Final = 253
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_HASH: Final = re.compile(rf"[0-9a-f]{{{HASH_LENGTH}}}\Z")
_LABEL: Final = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")

Body = dict[str, Any]


def owner_reference(owner: Mapping[str, Any]) -> Body:
    """The reference of an object to the one that controls it."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def controlled_by(body: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether `owner` is the controller of `body`."""
    references = body["metadata"].get("ownerReferences") or []
    return any(reference.get("controller") and reference["uid"] == owner["metadata"]["uid"] for reference in references)


def is_managed(body: Mapping[str, Any]) -> bool:
    """One of our programs has made it."""
    return (body["metadata"].get("labels") or {}).get(MANAGED_BY) == names.MANAGER


def is_deleting(body: Mapping[str, Any]) -> bool:
    """It is on its way out, and only finalizers hold it."""
    return bool(body["metadata"].get("deletionTimestamp"))


def status_condition(body: Mapping[str, Any], kind: str) -> Body | None:
    """The condition of this type when it is True."""
    conditions: Iterable[Body] = (body.get("status") or {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind and found["status"] == "True"), None)


def digest(value: object) -> str:
    """16 hex characters that change with the value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_label(value: str, what: str) -> str:
    """`value` if it may be a label's. Raises UsageError: `what` says whose it was."""
    if len(value) > LABEL_LIMIT:
        raise UsageError(f"{what} {value!r} has {len(value)} characters, more than the {LABEL_LIMIT} of a label", hint="shorten it")
    return value


def check_name(value: str) -> str:
    """`value` if an object may have that name. Raises UsageError: as part of a path it could lead to another namespace."""
    if not _NAME.match(value) or len(value) > _NAME_LIMIT:
        hint = "give the metadata.name of one in the same namespace"
        raise UsageError(f"{value!r} cannot be the name of a DynamoCheckpoint", hint=hint)
    return value


def is_hash(value: str) -> bool:
    """It looks like an identity's hash."""
    return bool(_HASH.match(value))


def is_pod_label(value: str) -> bool:
    """Whether `value` may be a label's."""
    return len(value) <= LABEL_LIMIT and bool(_LABEL.match(value))
