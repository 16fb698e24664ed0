"""`gc`: which checkpoints may go, which may not and why, and their deletion.

Whatever is referenced, pinned or still being made is kept. A list that fails ends it before anything is deleted.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import NotFoundError, NotReadyError, UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS, PODS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import human_duration, human_seconds
from kubectl_chrek.ops.listing import real_hash
from kubectl_chrek.ops.references import references

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a user wants gone: each criterion narrows it. At least one must be given.

    `older_than` is in seconds since the last use (a restore or the capture), `keep_last` spares that many of the latest used
    Ready ones of each model.
    """

    names: tuple[str, ...] = ()
    older_than: float | None = None
    failed: bool = False
    keep_last: int | None = None
    everything: bool = False

    def check(self) -> None:
        """Raises UsageError when nothing is asked for, or what is asked for contradicts itself."""
        narrows = self.older_than is not None or self.failed or self.keep_last is not None
        if not (self.names or narrows or self.everything):
            raise UsageError("say what may go", hint="give names, --older-than, --failed, --keep-last or --all")
        if self.everything and (self.names or narrows):
            raise UsageError("--all cannot be combined with names or other criteria")
        if self.keep_last is not None and self.keep_last < 0:
            raise UsageError("--keep-last: must not be negative")
        if self.failed and self.keep_last is not None:
            raise UsageError("--keep-last counts Ready checkpoints: it cannot be combined with --failed")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint with what decides about it. `reason` says why it goes, or why it stays."""

    checkpoint: Checkpoint
    reason: str
    referenced_by: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its metadata.name."""
        return self.checkpoint.metadata.name

    @property
    def last_used(self) -> datetime | None:
        """When it was last restored, captured or created."""
        return last_used(self.checkpoint)

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        metadata, artifact = self.checkpoint.metadata, self.checkpoint.status.artifact
        return {
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
            "hash": real_hash(self.checkpoint),
            "phase": self.checkpoint.phase,
            "reason": self.reason,
            "bytes": artifact.bytes if artifact else 0,
            "lastUsed": _stamp(self.last_used),
            "created": _stamp(metadata.creation_timestamp),
            "referencedBy": list(self.referenced_by),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes and what is kept although the criteria name it, each by namespace and name."""

    delete: tuple[Candidate, ...]
    keep: tuple[Candidate, ...]

    @property
    def bytes(self) -> int:
        """What the artifacts that go take."""
        return sum(each.checkpoint.status.artifact.bytes for each in self.delete if each.checkpoint.status.artifact)


async def make_plan(cluster: Cluster, options: ConnectionOptions, criteria: Criteria, now: datetime) -> Plan:
    """Reads the cluster and plans.

    Raises:
        NotFoundError: A named checkpoint is not there.
        ChrekError: Something could not be listed: nobody knows what is referenced.
    """
    criteria.check()
    scope = options.scope(cluster)
    bodies, pods = await asyncio.gather(cluster.list(CHECKPOINTS, scope), cluster.list(PODS, scope))
    try:
        graphs = await cluster.list(GRAPHS, scope)
    except NotFoundError:
        # A cluster without this kind has no graphs that could refer to anything.
        graphs = []
    checkpoints = [read_checkpoint(body) for body in bodies]
    missing = sorted(set(criteria.names) - {checkpoint.metadata.name for checkpoint in checkpoints})
    if missing:
        where = "any namespace" if options.all_namespaces else f"namespace {cluster.namespace}"
        raise NotFoundError(f"{', '.join(missing)}: no such checkpoint in {where}", hint="nothing was deleted")
    return plan(checkpoints, references(checkpoints, graphs, pods), criteria, now)


def plan(checkpoints: Sequence[Checkpoint], referenced: Mapping[str, tuple[str, ...]], criteria: Criteria, now: datetime) -> Plan:
    """Decides about each checkpoint.

    Args:
        checkpoints: All of them, or keep-last could not count.
        referenced: Who refers to a checkpoint, by its UID.
        criteria: What the user wants gone.
        now: The time.
    """
    spared = _latest(checkpoints, criteria.keep_last)
    delete, keep = [], []
    for checkpoint in sorted(checkpoints, key=lambda each: (each.metadata.namespace, each.metadata.name)):
        users = referenced.get(checkpoint.metadata.uid, ())
        if not _asked_for(checkpoint, criteria, now):
            continue
        protected = _protection(checkpoint, users) or ("among the latest" if checkpoint.metadata.uid in spared else "")
        if protected:
            keep.append(Candidate(checkpoint, protected, users))
        else:
            delete.append(Candidate(checkpoint, _why(checkpoint, criteria, now), users))
    return Plan(tuple(delete), tuple(keep))


def last_used(checkpoint: Checkpoint) -> datetime | None:
    """When it was last restored, captured or created."""
    status = checkpoint.status
    times = (
        status.last_restore.at if status.last_restore else None,
        status.artifact.captured_at if status.artifact else None,
        status.created_at,
        checkpoint.metadata.creation_timestamp,
    )
    return max((time for time in times if time), default=None)


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


def _asked_for(checkpoint: Checkpoint, criteria: Criteria, now: datetime) -> bool:
    if criteria.names and checkpoint.metadata.name not in criteria.names:
        return False
    if criteria.failed and checkpoint.phase != names.Phase.FAILED:
        return False
    if criteria.keep_last is not None and not criteria.names and checkpoint.phase != names.Phase.READY:
        return False
    return criteria.older_than is None or _idle(checkpoint, now) >= criteria.older_than


def _protection(checkpoint: Checkpoint, users: Sequence[str]) -> str:
    """Why it must stay, whatever anybody asks for; empty if it may go."""
    if checkpoint.metadata.deletion_timestamp:
        return "being deleted"
    if checkpoint.phase not in (names.Phase.READY, names.Phase.FAILED):
        return f"still {checkpoint.phase}"
    if checkpoint.pinned:
        return "pinned"
    return "referenced" if users else ""


def _why(checkpoint: Checkpoint, criteria: Criteria, now: datetime) -> str:
    if criteria.names:
        return "named"
    if criteria.older_than is not None:
        return f"unused for {human_duration(_idle(checkpoint, now))}"
    if criteria.keep_last is not None:
        return f"not among the latest {criteria.keep_last}"
    return checkpoint.phase


def _idle(checkpoint: Checkpoint, now: datetime) -> float:
    """Seconds since the last use."""
    used = last_used(checkpoint)
    return (now - used).total_seconds() if used else 0.0


def _latest(checkpoints: Iterable[Checkpoint], count: int | None) -> set[str]:
    """UIDs of the latest used Ready checkpoints of each model of each namespace."""
    if count is None:
        return set()
    models: dict[tuple[str, object], list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        if checkpoint.phase == names.Phase.READY and not checkpoint.metadata.deletion_timestamp:
            model = (checkpoint.spec.get("identity") or {}).get("model")
            models.setdefault((checkpoint.metadata.namespace, model), []).append(checkpoint)
    latest: set[str] = set()
    for found in models.values():
        ordered = sorted(found, key=lambda each: (_stamp(last_used(each)), each.metadata.name), reverse=True)
        latest |= {checkpoint.metadata.uid for checkpoint in ordered[:count]}
    return latest


def _stamp(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else ""
