"""Who refers to a checkpoint: graphs by name or identity, pods by their labels."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.ops.listing import real_hash

Body = Mapping[str, Any]
Key = tuple[str, str]
"""A namespace, and a name or hash in it."""


def references(checkpoints: Iterable[Checkpoint], graphs: Iterable[Body], pods: Iterable[Body]) -> dict[str, tuple[str, ...]]:
    """Who refers to each checkpoint, by its UID; those that nobody refers to are left out.

    A graph that names an identity refers to all checkpoints of that identity: whichever it uses is the operator's choice.
    """
    by_name: dict[Key, list[str]] = {}
    by_hash: dict[Key, list[str]] = {}
    for graph in graphs:
        _note_graph(graph, by_name, by_hash)
    for pod in pods:
        _note_pod(pod, by_name, by_hash)
    found = {}
    for checkpoint in checkpoints:
        namespace = checkpoint.metadata.namespace
        users = by_name.get((namespace, checkpoint.metadata.name), []) + by_hash.get((namespace, real_hash(checkpoint)), [])
        if users:
            found[checkpoint.metadata.uid] = tuple(dict.fromkeys(users))
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
