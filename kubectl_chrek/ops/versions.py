"""`version`: which versions of us are at work in a cluster, and whether they fit each other."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from kubectl_chrek.api.errors import ClusterError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.ops.compat import fetch_nodes
from kubectl_chrek.ops.operators import find_operators


@dataclass(frozen=True, slots=True)
class Versions:
    """Without the leading `v`. `operators` by namespace, `agents` the nodes by version; empty also when we may not look."""

    client: str
    server: str
    operators: Mapping[str, str]
    agents: Mapping[str, tuple[str, ...]]

    @property
    def skew(self) -> list[str]:
        """What is of another version than the client, in words."""
        found = [f"the operator in {where} is {each}" for where, each in self.operators.items() if each not in ("", self.client)]
        for version, nodes in self.agents.items():
            if version not in ("", self.client):
                found.append(f"the agents on {', '.join(nodes)} are {version}")
        return found


async def fetch_versions(cluster: Cluster, client: str) -> Versions:
    """Asks the server, the operator's deployment and the agents' nodes.

    Raises:
        ClusterError: The server does not answer.
    """
    server, operators, agents = await asyncio.gather(cluster.version(), _operators(cluster), _agents(cluster))
    return Versions(client, server, operators, agents)


async def _operators(cluster: Cluster) -> dict[str, str]:
    try:
        return {operator.namespace: operator.version for operator in await find_operators(cluster)}
    except ClusterError as error:
        if error.status != 403:
            raise
        return {}


async def _agents(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    try:
        nodes = await fetch_nodes(cluster)
    except NotFoundError:
        return {}
    except ClusterError as error:
        if error.status != 403:
            raise
        return {}
    found: dict[str, list[str]] = {}
    for node in sorted(nodes, key=lambda each: each.metadata.name):
        found.setdefault(node.status.agent.version.removeprefix("v"), []).append(node.metadata.name)
    return {version: tuple(each) for version, each in sorted(found.items())}
