"""Finds the checkpoint that a pod asks for."""

import re
from collections.abc import Mapping
from typing import Any, Final

from chrek_operator.admission.pods import Request
from chrek_operator.binding import bind, usable
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint, read_service_checkpoint
from kubectl_chrek.api.identity import HASH_LENGTH
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS

_HASH: Final = re.compile(rf"^[0-9a-f]{{{HASH_LENGTH}}}$")


async def find_checkpoint(cluster: Cluster, namespace: str, request: Request) -> Checkpoint | None:
    """The checkpoint; None when the pod's service has no checkpoint block.

    Raises:
        UsageError: There is none, or the block is wrong.
        ChrekError: The API server refused, or could not be reached.
    """
    if request.reference:
        return await _by_reference(cluster, namespace, request.reference)
    try:
        graph = await cluster.get(GRAPHS, request.graph, namespace)
    except NotFoundError:
        return None
    service, spec = _service(graph, request.service)
    block = read_service_checkpoint(service, spec)
    return None if block is None else await _by_block(cluster, namespace, block)


async def _by_reference(cluster: Cluster, namespace: str, reference: str) -> Checkpoint:
    try:
        named = usable([await cluster.get(CHECKPOINTS, reference, namespace)])
    except NotFoundError:
        named = []
    if named:
        return named[0]
    if _HASH.match(reference):
        found = usable(await cluster.list(CHECKPOINTS, namespace, labels=f"{names.LABEL_HASH}={reference}"))
        if found:
            return min(found, key=lambda each: each.phase == names.Phase.FAILED)
    raise UsageError(f"there is no DynamoCheckpoint with name or hash {reference} in namespace {namespace}")


async def _by_block(cluster: Cluster, namespace: str, block: ServiceCheckpoint) -> Checkpoint:
    if block.ref:
        return await _by_reference(cluster, namespace, block.ref)
    selector = f"{names.LABEL_HASH}={block.identity.hash}" if block.identity else ""
    binding = bind(block, usable(await cluster.list(CHECKPOINTS, namespace, labels=selector)), None)
    if binding.found is None:
        raise UsageError(f"there is no DynamoCheckpoint of identity {binding.identity_hash} yet")
    return binding.found


def _service(graph: Mapping[str, Any], wanted: str) -> tuple[str, Mapping[str, Any]]:
    """The service of a pod's label, which some versions of the platform write in lower case."""
    services = (graph.get("spec") or {}).get("services") or {}
    found = wanted if wanted in services else next((name for name in services if name.lower() == wanted.lower()), wanted)
    return found, services.get(found) or {}
