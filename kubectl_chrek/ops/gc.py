"""`gc` and `undelete`: reads what retention has to know, marks or deletes what a plan evicts, and waits for the end.

Deletion has two phases: a checkpoint is marked with the time when the operator may delete it, and can be used and unmarked until
then. A list that fails ends it before anything is marked.
"""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError, NotReadyError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, GRAPHS, LEASES, PODS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import human_seconds
from kubectl_chrek.ops.marking import Marked, mark
from kubectl_chrek.ops.references import gather
from kubectl_chrek.ops.retention import Candidate, Plan, Policy, delete_after, plan

Body = dict[str, Any]


async def make_plan(cluster: Cluster, options: ConnectionOptions, policy: Policy, now: datetime) -> Plan:
    """Reads the cluster and plans.

    Raises:
        NotFoundError: A named checkpoint is not there.
        ChrekError: Something could not be listed: nobody knows what is referenced.
    """
    policy.check()
    scope = options.scope(cluster)
    bodies, pods, leases, graphs, nodes = await asyncio.gather(
        cluster.list(CHECKPOINTS, scope),
        cluster.list(PODS, scope),
        cluster.list(LEASES, scope),
        _list_if_served(cluster, GRAPHS, scope),
        _list_if_served(cluster, CHREK_NODES, ""),
    )
    checkpoints = [read_checkpoint(body) for body in bodies]
    missing = sorted(set(policy.names) - {checkpoint.metadata.name for checkpoint in checkpoints})
    if missing:
        where = "any namespace" if options.all_namespaces else f"namespace {cluster.namespace}"
        raise NotFoundError(f"{', '.join(missing)}: no such checkpoint in {where}", hint="nothing was deleted")
    facts = gather(checkpoints, graphs=graphs, pods=pods, leases=leases, nodes=[read_node(body) for body in nodes], now=now)
    return plan(checkpoints, facts, policy, now)


async def mark_candidate(cluster: Cluster, candidate: Candidate, due: datetime, *, dry_run: bool = False) -> None:
    """Has the operator delete that very object at a time, unless it is in use by then.

    It may be gone already.

    Raises:
        ConflictError: Another object has its name by now.
    """
    metadata = candidate.checkpoint.metadata
    mark = {names.ANNOTATION_DELETE_AFTER: f"{due:%Y-%m-%dT%H:%M:%SZ}"}
    patch = {"metadata": {"uid": metadata.uid, "annotations": mark}}
    try:
        await cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, dry_run=dry_run)
    except NotFoundError:
        return
    except ChrekError as error:
        # Servers refuse another UID in different words.
        if await _uid(cluster, metadata.name, metadata.namespace) in ("", metadata.uid):
            raise
        raise ConflictError(f"{metadata.name} is kept: another object has its name by now") from error


async def undelete(cluster: Cluster, name: str, namespace: str | None = None, *, dry_run: str = "none") -> Marked:
    """Takes the mark off again, if there is one; `dry_run` as mark.

    Raises:
        NotFoundError: There is no such checkpoint.
        ConflictError: It is being deleted already.
    """
    body = await cluster.get(CHECKPOINTS, name, namespace)
    checkpoint = read_checkpoint(body)
    if checkpoint.metadata.deletion_timestamp:
        raise ConflictError(f"{name} is being deleted: it is too late", hint="`kubectl chrek prewarm` makes it again")
    if delete_after(checkpoint) is None:
        return Marked(body, changed=False)
    return await mark(cluster, body, names.ANNOTATION_DELETE_AFTER, None, dry_run=dry_run)


async def delete_candidate(cluster: Cluster, candidate: Candidate, *, dry_run: bool = False) -> None:
    """Deletes that very object; an agent then deletes its artifact and lets the object go. It may be gone already.

    Raises:
        ConflictError: Another object has its name by now.
    """
    metadata = candidate.checkpoint.metadata
    try:
        await cluster.delete(CHECKPOINTS, metadata.name, metadata.namespace, uid=metadata.uid, dry_run=dry_run)
    except NotFoundError:
        return


async def wait_until_gone(cluster: Cluster, deleted: Iterable[Candidate], scope: str, *, seconds: float) -> None:
    """Waits until the objects, and so their artifacts, are gone; 0 seconds wait for ever.

    Raises:
        NotReadyError: The time is up.
    """
    waiting = {candidate.checkpoint.metadata.uid: candidate.name for candidate in deleted}
    present: set[str] = set()
    try:
        async with asyncio.timeout(seconds or None), aclosing(cluster.watch(CHECKPOINTS, scope)) as events:
            async for event in events:
                if event.type == "SYNCED":
                    waiting = {uid: name for uid, name in waiting.items() if uid in present}
                elif event.type == "DELETED":
                    waiting.pop(event.object["metadata"]["uid"], None)
                else:
                    present.add(event.object["metadata"]["uid"])
                if not waiting:
                    return
    except TimeoutError as error:
        hint = f"an agent has to delete the artifact first: see `kubectl logs daemonset/{names.AGENT}`"
        left = ", ".join(sorted(waiting.values()))
        raise NotReadyError(f"still there after {human_seconds(seconds)}: {left}", hint=hint) from error


async def _list_if_served(cluster: Cluster, resource: Resource, scope: str) -> list[Body]:
    """A cluster without a kind has no object of it that could refer to anything."""
    try:
        return await cluster.list(resource, scope)
    except NotFoundError:
        return []


async def _uid(cluster: Cluster, name: str, namespace: str) -> str:
    """The UID of the checkpoint of this name; empty when there is none."""
    try:
        return str((await cluster.get(CHECKPOINTS, name, namespace))["metadata"]["uid"])
    except NotFoundError:
        return ""
