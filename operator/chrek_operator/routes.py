"""From an object's change to what has to be looked at."""

from collections.abc import Iterator
from typing import Any, Final

from chrek_operator.reconciler import Key
from chrek_operator.wanted import Wanted, wanted_checkpoints
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.cluster import Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, GRAPHS, JOBS, POLICIES

_METADATA: Final = ("uid", "generation", "deletionTimestamp", "labels", "annotations", "finalizers")
_STATUS: Final = ("phase", "identityHash", "artifact", "failure", "conditions", "jobName", "message")
"""What planners look at. The agent's reports of progress, restores and caches concern nobody here."""

Body = dict[str, Any]


class Routes:
    """Knows the graphs and what they refer to, since a checkpoint's change concerns those, and what each checkpoint was."""

    def __init__(self) -> None:
        self._graphs: dict[Key, Wanted] = {}
        self._checkpoints: dict[Key, Body] = {}

    def keys(self, resource: Resource, body: Body, *, deleted: bool = False) -> list[Key]:
        """Keys to look at after this change."""
        metadata = body["metadata"]
        namespace, labels = metadata.get("namespace", ""), metadata.get("labels") or {}
        if resource is CHECKPOINTS:
            return self._checkpoint(Key("checkpoint", namespace, metadata["name"]), body, deleted=deleted)
        if resource is GRAPHS:
            key = Key("graph", namespace, metadata["name"])
            if deleted:
                self._graphs.pop(key, None)
            else:
                self._graphs[key] = wanted_checkpoints(body)
            return [key]
        if resource is POLICIES:
            return [Key("policy", namespace, metadata["name"])]
        if resource is JOBS and names.LABEL_NAME in labels:
            return [Key("checkpoint", namespace, labels[names.LABEL_NAME])]
        if resource is DEPLOYMENTS and names.LABEL_GRAPH in labels:
            return [Key("graph", namespace, labels[names.LABEL_GRAPH])]
        return []

    def _checkpoint(self, key: Key, body: Body, *, deleted: bool) -> list[Key]:
        before, now = self._checkpoints.pop(key, None), _notable(body)
        if not deleted:
            self._checkpoints[key] = now
        if now == before and not deleted:
            return []
        matters = (
            deleted
            or before is None
            or any(now[field] != before[field] for field in ("uid", "deletionTimestamp", "phase", "artifact"))
        )
        return [key, *(self._users(key, body) if matters else ())]

    def _users(self, key: Key, body: Body) -> Iterator[Key]:
        """The graphs that refer to a checkpoint."""
        try:
            identity_hash = parse_identity((body.get("spec") or {}).get("identity")).hash
        except IdentityError:
            identity_hash = ""
        for graph, wanted in self._graphs.items():
            if graph.namespace == key.namespace and (key.name in wanted.names or {identity_hash, key.name} & wanted.hashes):
                yield graph


def _notable(body: Body) -> Body:
    status = body.get("status") or {}
    return {key: body["metadata"].get(key) for key in _METADATA} | {key: status.get(key) for key in _STATUS}
