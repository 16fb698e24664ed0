"""`doctor`: walks from the API server to the last cold start and says what is wrong and what mends it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, NotFoundError
from kubectl_chrek.api.node import ChrekNode
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, LEASES, NODES
from kubectl_chrek.ops import doctor_checkpoints, doctor_cluster, doctor_nodes
from kubectl_chrek.ops.compat import fetch_nodes
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.findings import Finding, ok, unchecked

Step = Callable[[], Awaitable[list[Finding]]]


async def examine(cluster: Cluster, options: ConnectionOptions, now: datetime, *, version: str, node: str = "") -> list[Finding]:
    """All findings, in the order in which one would look; with `node`, only those about that node.

    Args:
        cluster: The connection.
        options: Which namespaces to look at.
        now: The time.
        version: The plugin's, to compare the agents' with.
        node: A node's name.

    Raises:
        ClusterError: The server could not be reached at all.
        NotFoundError: There is no such node.
    """
    server = ok("server", f"{await cluster.version()} at {cluster.server}")
    agents = await _agents(cluster)
    if node:
        await cluster.get(NODES, node, "")
        alone = [agent for agent in agents if agent.metadata.name == node] if isinstance(agents, list) else agents
        return [server, *await _about_nodes(cluster, alone, now, version=version, only=node)]
    scope = options.scope(cluster)
    steps: Sequence[tuple[str, Step]] = (
        ("crds", lambda: doctor_cluster.check_definitions(cluster)),
        ("access", lambda: doctor_cluster.check_access(cluster, scope)),
        ("access/pods/exec", lambda: doctor_cluster.check_exporting(cluster)),
        ("operator", lambda: doctor_cluster.check_operator(cluster, version)),
        ("nodes", lambda: _about_nodes(cluster, agents, now, version=version)),
        ("storage", lambda: doctor_cluster.check_claims(cluster, scope)),
        ("webhook", lambda: doctor_cluster.check_webhook(cluster)),
        ("leases", lambda: _about_leases(cluster, scope, now)),
        ("checkpoints", lambda: _about_checkpoints(cluster, scope, now)),
    )
    answers = await asyncio.gather(*(_try(name, step) for name, step in steps))
    return [server, *(finding for findings in answers for finding in findings)]


async def _try(name: str, step: Step) -> list[Finding]:
    """A step that cannot be taken is a finding of its own."""
    try:
        return await step()
    except ChrekError as error:
        return [unchecked(name, error)]


async def _agents(cluster: Cluster) -> list[ChrekNode] | ChrekError:
    try:
        return await fetch_nodes(cluster)
    except NotFoundError:
        return []
    except ChrekError as error:
        return error


async def _about_nodes(
    cluster: Cluster, agents: list[ChrekNode] | ChrekError, now: datetime, *, version: str, only: str = ""
) -> list[Finding]:
    if isinstance(agents, ChrekError):
        return [unchecked("agents", agents)]
    try:
        nodes = [await cluster.get(NODES, only, "")] if only else await cluster.list(NODES, "")
    except ChrekError as error:
        return [unchecked("nodes", error), *doctor_nodes.check_agents(agents, None, now, version=version)]
    return doctor_nodes.check_agents(agents, nodes, now, version=version)


async def _about_leases(cluster: Cluster, scope: str, now: datetime) -> list[Finding]:
    return doctor_checkpoints.check_leases(await cluster.list(LEASES, scope), now)


async def _about_checkpoints(cluster: Cluster, scope: str, now: datetime) -> list[Finding]:
    found: list[Checkpoint] = [read_checkpoint(body) for body in await cluster.list(CHECKPOINTS, scope)]
    return doctor_checkpoints.check_checkpoints(found, now)
