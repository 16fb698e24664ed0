"""Who needs a namespace's checkpoints, read from the cluster."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHREK_NODES, GRAPHS, LEASES, PODS
from kubectl_chrek.ops.references import gather
from kubectl_chrek.ops.retention import Facts

Body = dict[str, Any]


async def gather_facts(cluster: Cluster, namespace: str, checkpoints: Sequence[Checkpoint], now: datetime) -> Facts:
    """All that retention has to know. Raises ChrekError when something cannot be listed: then nobody knows what is needed."""
    graphs, pods, leases, nodes = await asyncio.gather(
        _list(cluster, GRAPHS, namespace),
        cluster.list(PODS, namespace),
        cluster.list(LEASES, namespace),
        _list(cluster, CHREK_NODES, ""),
    )
    return gather(checkpoints, graphs=graphs, pods=pods, leases=leases, nodes=[read_node(node) for node in nodes], now=now)


async def _list(cluster: Cluster, resource: Resource, namespace: str) -> list[Body]:
    try:
        return await cluster.list(resource, namespace)
    except NotFoundError:
        # A cluster without this kind has none of it.
        return []
