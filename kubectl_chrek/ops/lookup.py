"""Finds the identity that a word stands for in a cluster: a checkpoint by name or hash, or a graph's service."""

from typing import Final

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.api.graph import read_checkpoints
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS
from kubectl_chrek.ops.hashing import Hashed
from kubectl_chrek.ops.prewarm import find_same

_GRAPH: Final = ("dgd", "dynamographdeployment")


async def find_identity(cluster: Cluster, word: str) -> Hashed:
    """The identity of `NAME`, of a hash, or of `dgd/GRAPH/SERVICE` (the service may be left out if there is only one).

    Raises:
        NotFoundError: There is nothing of that kind.
        UsageError: The graph has several services, or its block is off.
        IdentityError: The object has no valid identity.
    """
    kind, slash, rest = word.partition("/")
    if slash and kind in _GRAPH:
        return await _of_graph(cluster, *rest.partition("/")[::2])
    name = rest if slash else word
    try:
        body = await cluster.get(CHECKPOINTS, name)
    except NotFoundError:
        found = await find_same(cluster, name)
        if found is None:
            raise NotFoundError(
                f"{word}: no file, and no checkpoint of that name or hash", hint="a graph is dgd/NAME/SERVICE"
            ) from None
        body = found
    checkpoint = read_checkpoint(body)
    return Hashed(checkpoint.identity, checkpoint.hash, f"dynamocheckpoint/{checkpoint.metadata.name}", "cluster")


async def _of_graph(cluster: Cluster, name: str, service: str) -> Hashed:
    blocks = [each for each in read_checkpoints(await cluster.get(GRAPHS, name)) if service in ("", each.service)]
    if not blocks:
        raise NotFoundError(f"graph {name} has no enabled checkpoint{f' for a service {service}' if service else ''}")
    if len(blocks) > 1:
        raise UsageError(f"graph {name} has several: give dgd/{name}/SERVICE", hint=", ".join(each.service for each in blocks))
    block = blocks[0]
    label = f"dynamographdeployment/{name}/{block.service}"
    if block.identity is None:
        checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, block.ref))
        return Hashed(checkpoint.identity, checkpoint.hash, label, "cluster")
    return Hashed(block.identity, block.identity.hash, label, "cluster")
