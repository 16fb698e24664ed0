"""Finds the checkpoint that a pod asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chrek_operator.admission.pods import Request
from chrek_operator.binding import Binding, awaited, bind, choose, read_block, usable
from chrek_operator.objects import check_name, is_hash
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A pod's checkpoint, and whether the pod is to wait for it."""

    binding: Binding
    waits: bool = False


async def find_checkpoint(cluster: Cluster, namespace: str, request: Request) -> Found | None:
    """The checkpoint; None when the pod's service has no checkpoint block.

    A service's pods get the shim although their checkpoint is still to be created: containers that start later find it then.

    Raises:
        UsageError: A pod names one that is not there, or the block is wrong.
        ChrekError: The API server refused, or could not be reached.
    """
    if request.reference:
        found = await _by_reference(cluster, namespace, request.reference)
        return Found(Binding(found.metadata.name, found.hash, found))
    try:
        graph = await cluster.get(GRAPHS, request.graph, namespace)
    except NotFoundError:
        return None
    service = _service(graph, request.service)
    block = read_block(graph, service) if service else None
    return None if block is None else await _by_block(cluster, namespace, block)


async def _by_reference(cluster: Cluster, namespace: str, reference: str) -> Checkpoint:
    named = usable(await _named(cluster, namespace, reference))
    if named:
        return named[0]
    found = choose(reference, usable(await _of_hash(cluster, namespace, reference))) if is_hash(reference) else None
    if found is not None:
        return found
    raise UsageError(f"there is no DynamoCheckpoint with name or hash {reference} in namespace {namespace}")


async def _named(cluster: Cluster, namespace: str, name: str) -> list[Body]:
    """The checkpoint of this name, if there is one. Raises UsageError: it cannot be the name of one."""
    try:
        return [await cluster.get(CHECKPOINTS, check_name(name), namespace)]
    except NotFoundError:
        return []


async def _of_hash(cluster: Cluster, namespace: str, identity_hash: str) -> list[Body]:
    return await cluster.list(CHECKPOINTS, namespace, labels=f"{names.LABEL_HASH}={identity_hash}")


async def _by_block(cluster: Cluster, namespace: str, block: ServiceCheckpoint) -> Found:
    if block.ref:
        bodies = await _named(cluster, namespace, block.ref)
        bodies = bodies or (await _of_hash(cluster, namespace, block.ref) if is_hash(block.ref) else [])
    else:
        bodies = await _of_hash(cluster, namespace, block.identity.hash) if block.identity else []
    binding = bind(block, usable(bodies), None)
    return Found(binding, awaited(block, binding))


def _service(graph: Mapping[str, Any], wanted: str) -> str:
    """The service of a pod's label, which some versions of the platform write in lower case; empty without one."""
    services = (graph.get("spec") or {}).get("services") or {}
    return wanted if wanted in services else next((name for name in services if name.lower() == wanted.lower()), "")
