"""`prewarm --nodes`: nodes are asked to have an artifact in their caches before a scale-up, and waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import CachedCopy, Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ClusterError, NotFoundError, NotReadyError
from kubectl_chrek.api.node import ChrekNode, Operation, read_node
from kubectl_chrek.api.staging import ALL, joined, parse
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, NODES
from kubectl_chrek.ops.compat import fetch_nodes
from kubectl_chrek.ops.formatting import human_bytes, human_seconds

KIND = "stage"
OnProgress = Callable[[str, str, Operation], None]
"""Told the name of a checkpoint, a node, and how far that is."""
Place = tuple[str, str]
"""UID of a checkpoint, and a node."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The nodes that were meant. `direct` have no cache and read the store whenever they restore: there is nothing to stage."""

    annotation: tuple[str, ...]
    nodes: tuple[str, ...]
    direct: tuple[str, ...]


async def choose_nodes(cluster: Cluster, named: Sequence[str], selector: str, now: datetime) -> Chosen:
    """The nodes of these names (`*`: all that have an agent), or those that a label selector chooses.

    Raises:
        NotFoundError: One has no agent, or none was chosen.
        NotReadyError: The agent of one is silent, or none of them has a cache.
    """
    agents = {node.metadata.name: node for node in await fetch_nodes(cluster)}
    wanted = list(named) if named else await _selected(cluster, selector, agents)
    chosen = (
        [node for name, node in agents.items() if node.alive(now)]
        if ALL in wanted
        else [_live(agents, name, now) for name in wanted]
    )
    if not chosen:
        what = f"no node with {selector} has an agent" if selector else "no node has an agent"
        raise NotFoundError(what, hint="see `kubectl chrek doctor`")
    caching = tuple(sorted(node.metadata.name for node in chosen if node.status.cache.quota_bytes))
    direct = tuple(sorted(node.metadata.name for node in chosen if not node.status.cache.quota_bytes))
    if not caching:
        hint = "give the agents one: storage.cache.size of the chart; a store on a fast volume of all nodes needs none"
        raise NotReadyError(f"no cache to stage to on {', '.join(direct)}: restores there read the store itself", hint=hint)
    return Chosen((ALL,) if ALL in wanted else caching, caching, direct)


async def request(cluster: Cluster, checkpoint: Checkpoint, chosen: Chosen, *, dry_run: bool = False) -> bool:
    """Asks for it, beside what was asked before; returns False if there was nothing new to ask.

    Nodes that have failed are asked again: the wish is taken back and made anew, which is what agents look for.
    """
    metadata = checkpoint.metadata
    before = metadata.annotations.get(names.ANNOTATION_STAGE, "")
    after = joined(before, chosen.annotation)
    failed = {copy.node for copy in checkpoint.status.caches if copy.message} & set(chosen.nodes)
    if after == joined(before, ()) and not failed:
        return False
    steps = ([joined("", parse(before) - failed - {ALL}) or None] if failed and before else []) + [after]
    for value in steps if not dry_run else steps[-1:]:
        patch = {"metadata": {"uid": metadata.uid, "annotations": {names.ANNOTATION_STAGE: value}}}
        await cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, dry_run=dry_run)
    return True


def staged(checkpoint: Checkpoint, node: str) -> CachedCopy | None:
    """What a node holds, if that is all of the artifact."""
    artifact = checkpoint.status.artifact
    copy = next((copy for copy in checkpoint.status.caches if copy.node == node), None)
    if artifact is None or copy is None or not 0 < copy.total <= copy.bytes:
        return None
    return copy if copy.generation in ("", artifact.generation) else None


async def wait_until_staged(
    cluster: Cluster,
    asked: Mapping[str, Checkpoint],
    nodes: Sequence[str],
    namespace: str,
    *,
    seconds: float,
    on_progress: OnProgress,
) -> dict[Place, CachedCopy]:
    """What each node holds in the end; one with a `message` does not hold all.

    Args:
        cluster: The connection.
        asked: Checkpoints by UID, as they were before they were asked for: a failure that was there then does not count.
        nodes: Of each.
        namespace: Where the checkpoints are.
        seconds: How long to wait; 0 waits for ever.
        on_progress: Is called with what agents tell of their work.

    Raises:
        NotReadyError: A checkpoint was deleted or failed, or the time is up.
    """
    answers: dict[Place, CachedCopy] = {}
    wanted = {(uid, node) for uid in asked for node in nodes}
    by_name = {checkpoint.metadata.name for checkpoint in asked.values()}
    try:
        async with (
            asyncio.timeout(seconds or None),
            _progress(cluster, namespace, by_name, nodes, on_progress),
            aclosing(cluster.watch(CHECKPOINTS, namespace)) as events,
        ):
            async for event in events:
                uid = event.object["metadata"]["uid"] if event.object else ""
                if event.type == "DELETED" and uid in asked:
                    raise NotReadyError(f"checkpoint {asked[uid].metadata.name} was deleted while it was staged")
                if uid in asked:
                    answers |= _answers(read_checkpoint(event.object), asked[uid], nodes)
                if answers.keys() >= wanted:
                    return answers
    except TimeoutError as error:
        left = ", ".join(sorted(f"{asked[uid].metadata.name} on {node}" for uid, node in wanted - answers.keys()))
        hint = "it goes on without us; `kubectl chrek ls -o wide` shows CACHES"
        raise NotReadyError(f"not staged after {human_seconds(seconds)}: {left}", hint=hint) from error
    raise NotReadyError("the watch ended")


def progress_text(operation: Operation, now: datetime) -> str:
    """How far a node is: bytes, share, rate, and what is left."""
    done, total = operation.bytes_done, operation.bytes_total
    text = human_bytes(done) + (f" of {human_bytes(total)} ({done / total:.0%})" if total else "")
    elapsed = (now - operation.started_at).total_seconds() if operation.started_at else 0.0
    if elapsed < 1 or not done:
        return text
    left = f", {human_seconds((total - done) * elapsed / done)} left" if total else ""
    return f"{text}, {done / elapsed / 1e9:.2f} GB/s{left}"


def _answers(now: Checkpoint, before: Checkpoint, nodes: Sequence[str]) -> dict[Place, CachedCopy]:
    if now.phase == names.Phase.FAILED:
        raise NotReadyError(f"checkpoint {now.metadata.name} failed: there is nothing to stage")
    found: dict[Place, CachedCopy] = {}
    for copy in now.status.caches:
        failure = copy.message and copy not in before.status.caches
        if copy.node in nodes and (failure or staged(now, copy.node)):
            found[now.metadata.uid, copy.node] = copy
    return found


@asynccontextmanager
async def _progress(
    cluster: Cluster, namespace: str, checkpoints: set[str], nodes: Sequence[str], told: OnProgress
) -> AsyncIterator[None]:
    """Passes on what agents say of it meanwhile. Without the right to watch them there is no progress, and no harm."""

    async def follow() -> None:
        with suppress(ChrekError):
            async for event in cluster.watch(CHREK_NODES, ""):
                node = read_node(event.object) if event.object else None
                for each in node.status.operations if node and node.metadata.name in nodes else ():
                    if each.kind == KIND and each.namespace == namespace and each.checkpoint in checkpoints:
                        told(each.checkpoint, node.metadata.name if node else "", each)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _selected(cluster: Cluster, selector: str, agents: Mapping[str, ChrekNode]) -> list[str]:
    try:
        found = await cluster.list(NODES, "", labels=selector)
    except ClusterError as error:
        if error.status == 403:
            raise ClusterError(
                str(error), status=403, hint="--node-selector needs the right to list nodes; name them by --nodes"
            ) from error
        raise
    return [body["metadata"]["name"] for body in found if body["metadata"]["name"] in agents]


def _live(agents: Mapping[str, ChrekNode], name: str, now: datetime) -> ChrekNode:
    if name not in agents:
        raise NotFoundError(f"no agent has told of a node {name}", hint="`kubectl get chreknodes` lists those that have one")
    if not agents[name].alive(now):
        raise NotReadyError(f"the agent of node {name} is silent", hint=f"see `kubectl chrek doctor --node {name}`")
    return agents[name]
