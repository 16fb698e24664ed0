"""Who needs a checkpoint: graphs by name or identity, pods by their labels, agents by leases and work under way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.api.node import ChrekNode
from kubectl_chrek.ops.compat import nowhere, places
from kubectl_chrek.ops.listing import real_hash
from kubectl_chrek.ops.retention import Facts, last_used

ORPHAN_SECONDS: Final = 86400.0
"""A checkpoint may be made before its graph: only when it has been idle for so long its graph is called gone."""

Body = Mapping[str, Any]
Key = tuple[str, str]
"""A namespace, and a name or hash in it."""


def gather(
    checkpoints: Sequence[Checkpoint],
    *,
    graphs: Sequence[Body],
    pods: Sequence[Body],
    leases: Sequence[Body],
    nodes: Sequence[ChrekNode],
    now: datetime,
) -> Facts:
    """All that retention has to know, from complete lists of the scope; `nodes` are all of the cluster."""
    alive = [node for node in nodes if node.alive(now)]
    return Facts(
        referenced=references(checkpoints, graphs, pods),
        leased=_leased(checkpoints, leases, alive, now),
        orphaned=_orphaned(checkpoints, graphs, now),
        incompatible=nowhere(checkpoints, places(alive)),
    )


def lease_holder(lease: Body, now: datetime) -> str:
    """Who holds a Lease; empty when it was given back or has run out."""
    spec = lease.get("spec") or {}
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return ""
    age = (now - datetime.fromisoformat(spec["renewTime"])).total_seconds()
    return "" if age > float(spec.get("leaseDurationSeconds") or 0) else str(spec["holderIdentity"])


def references(checkpoints: Iterable[Checkpoint], graphs: Iterable[Body], pods: Iterable[Body]) -> dict[str, tuple[str, ...]]:
    """Who refers to each checkpoint, by its UID; those that nobody refers to are left out."""
    users = Users()
    users.add_graphs(graphs)
    users.add_pods(pods)
    found = ((checkpoint.metadata.uid, users.of(checkpoint)) for checkpoint in checkpoints)
    return {uid: who for uid, who in found if who}


class Users:
    """Who refers to what, of graphs and pods as they come: none of them is kept.

    A graph that names an identity refers to all checkpoints of that identity: whichever it uses is the operator's choice.
    """

    def __init__(self) -> None:
        self._by_name: dict[Key, list[str]] = {}
        self._by_hash: dict[Key, list[str]] = {}

    def add_graphs(self, graphs: Iterable[Body]) -> None:
        """Notes what their services refer to."""
        for graph in graphs:
            _note_graph(graph, self._by_name, self._by_hash)

    def add_pods(self, pods: Iterable[Body]) -> None:
        """Notes what their labels refer to."""
        for pod in pods:
            _note_pod(pod, self._by_name, self._by_hash)

    def of(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Who refers to this checkpoint."""
        namespace = checkpoint.metadata.namespace
        named = self._by_name.get((namespace, checkpoint.metadata.name), [])
        return tuple(dict.fromkeys(named + self._by_hash.get((namespace, real_hash(checkpoint)), [])))


def _leased(checkpoints: Iterable[Checkpoint], leases: Iterable[Body], nodes: Iterable[ChrekNode], now: datetime) -> dict[str, str]:
    holders = {
        (lease["metadata"].get("namespace", ""), lease["metadata"]["name"]): holder
        for lease in leases
        if (holder := lease_holder(lease, now))
    }
    work = {
        (operation.namespace, operation.checkpoint): f"{operation.kind} on {node.metadata.name}"
        for node in nodes
        for operation in node.status.operations
    }
    found = {}
    for checkpoint in checkpoints:
        namespace, name = checkpoint.metadata.namespace, checkpoint.metadata.name
        held = holders.get((namespace, f"{names.LEASE_PREFIX}{real_hash(checkpoint)}"), "")
        user = work.get((namespace, name), "") or held
        if user:
            found[checkpoint.metadata.uid] = user
    return found


def _orphaned(checkpoints: Iterable[Checkpoint], graphs: Iterable[Body], now: datetime) -> dict[str, str]:
    present = {(graph["metadata"].get("namespace", ""), graph["metadata"]["name"]) for graph in graphs}
    found = {}
    for checkpoint in checkpoints:
        metadata = checkpoint.metadata
        graph = metadata.labels.get(names.LABEL_GRAPH, "")
        used = last_used(checkpoint)
        idle = used is not None and (now - used).total_seconds() >= ORPHAN_SECONDS
        if checkpoint.phase == names.Phase.READY and checkpoint.status.artifact is None:
            found[metadata.uid] = "without an artifact"
        elif graph and idle and (metadata.namespace, graph) not in present:
            found[metadata.uid] = f"graph {graph} is gone"
    return found


def _note_graph(graph: Body, by_name: dict[Key, list[str]], by_hash: dict[Key, list[str]]) -> None:
    namespace = graph["metadata"].get("namespace", "")
    for service, block in _blocks(graph):
        user = f"dgd/{graph['metadata']['name']}/{service}"
        if block.get("checkpointRef"):
            by_name.setdefault((namespace, str(block["checkpointRef"])), []).append(user)
        elif block.get("identity"):
            try:
                identity_hash = parse_identity(block["identity"]).hash
            except IdentityError:
                # An identity that cannot be read is no checkpoint's.
                continue
            by_hash.setdefault((namespace, identity_hash), []).append(user)


def _blocks(graph: Body) -> Iterator[tuple[str, Body]]:
    """The enabled checkpoint blocks, however broken the rest of the graph is: it must not make a reference vanish."""
    services = (graph.get("spec") or {}).get("services")
    for service, spec in services.items() if isinstance(services, Mapping) else ():
        block = spec.get("checkpoint") if isinstance(spec, Mapping) else None
        if isinstance(block, Mapping) and block.get("enabled"):
            yield service, block


def _note_pod(pod: Body, by_name: dict[Key, list[str]], by_hash: dict[Key, list[str]]) -> None:
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return
    user, namespace = f"pod/{metadata['name']}", metadata.get("namespace", "")
    if labels.get(names.LABEL_NAME):
        by_name.setdefault((namespace, labels[names.LABEL_NAME]), []).append(user)
    elif labels.get(names.LABEL_HASH):
        by_hash.setdefault((namespace, labels[names.LABEL_HASH]), []).append(user)
