"""What completion offers: names of things in the cluster."""

from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.credentials import context_names
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS, NAMESPACES, NODES
from kubectl_chrek.ops.connection import ConnectionOptions, open_cluster


async def checkpoints(options: ConnectionOptions) -> list[str]:
    """Names of checkpoints, each with its model and phase behind a tab."""
    async with open_cluster(options) as cluster:
        bodies = await cluster.list(CHECKPOINTS)
    found = []
    for body in bodies:
        model = ((body.get("spec") or {}).get("identity") or {}).get("model", "")
        found.append(f"{body['metadata']['name']}\t{model} {(body.get('status') or {}).get('phase', '')}".rstrip())
    return sorted(found)


async def graphs(options: ConnectionOptions) -> list[str]:
    """Names of graphs."""
    async with open_cluster(options) as cluster:
        return await _names(cluster, GRAPHS, cluster.namespace)


async def namespaces(options: ConnectionOptions) -> list[str]:
    """Names of namespaces."""
    async with open_cluster(options) as cluster:
        return await _names(cluster, NAMESPACES, "")


async def nodes(options: ConnectionOptions) -> list[str]:
    """Names of nodes."""
    async with open_cluster(options) as cluster:
        return await _names(cluster, NODES, "")


async def contexts(options: ConnectionOptions) -> list[str]:
    """Names of the kubeconfig's contexts."""
    return context_names(options.kubeconfig or None)


async def _names(cluster: Cluster, resource: Resource, namespace: str) -> list[str]:
    return sorted(body["metadata"]["name"] for body in await cluster.list(resource, namespace))
