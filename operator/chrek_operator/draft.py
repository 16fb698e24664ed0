"""The status of one object while it is being decided: changes gather here and leave as one patch, or none."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

from chrek_operator.actions import Action, Patch, Plan, Tell
from chrek_operator.objects import timestamp
from kubectl_chrek.cluster import Resource

Body = dict[str, Any]


class Draft:
    """Collects what the operator wants to say about an object."""

    def __init__(self, resource: Resource, body: Body, now: datetime) -> None:
        self._resource = resource
        self._body = body
        self._now = timestamp(now)
        self._status: Body = body.get("status") or {}
        self._wanted: Body = deepcopy(self._status)
        self._conditions: dict[str, Body] = {found["type"]: found for found in self._wanted.get("conditions") or ()}
        self._tells: list[Tell] = []

    def set(self, **fields: Any) -> None:
        """Sets fields of the status, by their JSON names; None removes one."""
        for name, value in fields.items():
            if value is None:
                self._wanted.pop(name, None)
            else:
                self._wanted[name] = value

    def condition(self, kind: str, reason: str, message: str = "", *, true: bool) -> bool:
        """Sets a condition; whether that changes it."""
        before = self._conditions.get(kind, {})
        status = "True" if true else "False"
        wanted = {"type": kind, "status": status, "reason": reason, "message": message}
        if all(before.get(key) == value for key, value in wanted.items()):
            return False
        since = before["lastTransitionTime"] if before.get("status") == status else self._now
        generation = self._body["metadata"].get("generation", 0)
        self._conditions[kind] = wanted | {"lastTransitionTime": since, "observedGeneration": generation}
        self._wanted["conditions"] = list(self._conditions.values())
        return True

    def condition_message(self, kind: str) -> str:
        """The message of a condition as it stands."""
        return str(self._conditions.get(kind, {}).get("message", ""))

    def tell(self, reason: str, message: str, *, warning: bool = False, key: str = "") -> None:
        """Posts an Event along with the status; `key` defaults to the version that was read, so that each change is told."""
        version = self._body["metadata"].get("resourceVersion", "")
        self._tells.append(Tell(self._body, reason, message, key or version, warning=warning))

    def plan(self, *first: Action, recheck: float | None = None) -> Plan:
        """`first`, then the Events, then the status if it differs from the one read: who dies in between tells nothing twice."""
        metadata = self._body["metadata"]
        changes = merge_patch(self._status, self._wanted)
        # The version guards against another's write between our read and this: then nothing is written, and all is read anew.
        patch = {"metadata": {"resourceVersion": metadata.get("resourceVersion", "")}, "status": changes}
        status = (Patch(self._resource, metadata["name"], patch, "status"),) if changes else ()
        return Plan((*first, *self._tells, *status), recheck)


def merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> Body:
    """The JSON merge patch (RFC 7386) that turns one mapping into the other."""
    patch: Body = {name: None for name in current if name not in wanted}
    for name, value in wanted.items():
        before = current.get(name)
        if before == value:
            continue
        patch[name] = merge_patch(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return patch
