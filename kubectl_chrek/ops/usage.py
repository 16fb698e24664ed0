"""`df`: what checkpoints take, by backend and model, and what could be had back."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ClusterError, NotFoundError
from kubectl_chrek.api.node import ChrekNode, StoreStatus
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS, PODS
from kubectl_chrek.ops.compat import fetch_nodes
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.references import Users
from kubectl_chrek.ops.retention import freed_bytes, model_of

_NOT_COUNTED: Final = dict.fromkeys(("logical_bytes", "stored_bytes", "reclaimable_bytes", "artifacts"))


@dataclass(frozen=True, slots=True)
class Usage:
    """One checkpoint's artifact, in bytes. `unique` returns if it goes; `active`: somebody refers to it or pinned it.

    `node` has captured it.
    """

    namespace: str
    name: str
    backend: str
    model: str
    logical: int
    stored: int
    unique: int
    active: bool
    node: str
    captured_at: datetime | None

    @property
    def shared(self) -> int:
        """What it has in common with others."""
        return max(self.logical - self.unique, 0)

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "model": self.model,
            "logicalBytes": self.logical,
            "storedBytes": self.stored,
            "sharedBytes": self.shared,
            "uniqueBytes": self.unique,
            "active": self.active,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """The checkpoints of one model in one backend, or of all."""

    backend: str
    model: str
    usages: tuple[Usage, ...]

    @property
    def logical(self) -> int:
        """As if nothing were shared."""
        return sum(usage.logical for usage in self.usages)

    @property
    def stored(self) -> int:
        """What their captures added to the store."""
        return sum(usage.stored for usage in self.usages)

    @property
    def active(self) -> int:
        """How many somebody refers to."""
        return sum(usage.active for usage in self.usages)

    @property
    def reclaimable(self) -> int:
        """What returns if all go that nobody refers to; at least, where they share with each other."""
        return sum(usage.unique for usage in self.usages if not usage.active)

    @property
    def reclaimable_share(self) -> float:
        """The part of what is stored, 0 to 1."""
        return min(self.reclaimable / self.stored, 1.0) if self.stored else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {
            "backend": self.backend,
            "model": self.model,
            "checkpoints": len(self.usages),
            "active": self.active,
            "logicalBytes": self.logical,
            "storedBytes": self.stored,
            "reclaimableBytes": self.reclaimable,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `df` shows. `stores` is what agents say of their stores, for each place that is named the newest."""

    groups: tuple[Group, ...]
    stores: tuple[StoreStatus, ...]

    @property
    def total(self) -> Group:
        """All groups as one."""
        return Group("", "", tuple(usage for group in self.groups for usage in group.usages))


def report(checkpoints: Iterable[Checkpoint], referenced: Mapping[str, Sequence[str]], nodes: Iterable[ChrekNode]) -> Report:
    """Adds up what has an artifact; groups are in the order of their backends and models."""
    usages = (_usage(each, active=bool(referenced.get(each.metadata.uid)) or each.pinned) for each in checkpoints)
    return _report([*filter(None, usages)], nodes)


async def fetch(cluster: Cluster, options: ConnectionOptions) -> Report:
    """Reads the scope and adds up; of the objects it keeps nothing but their sizes.

    Raises:
        ChrekError: Something could not be listed.
    """
    scope = options.scope(cluster)
    users, nodes = await asyncio.gather(_users(cluster, scope), _nodes(cluster))
    usages: list[Usage] = []
    async with aclosing(cluster.pages(CHECKPOINTS, scope)) as pages:
        async for bodies in pages:
            found = (_usage(each, active=bool(users.of(each)) or each.pinned) for each in map(read_checkpoint, bodies))
            usages += filter(None, found)
    return _report(usages, nodes)


def _report(usages: Sequence[Usage], nodes: Iterable[ChrekNode]) -> Report:
    groups: dict[tuple[str, str], list[Usage]] = {}
    for usage in usages:
        groups.setdefault((usage.backend, usage.model), []).append(usage)
    return Report(
        tuple(Group(*key, tuple(sorted(found, key=_by_size))) for key, found in sorted(groups.items())),
        tuple(store for _, store in sorted(_stores(usages, nodes).items())),
    )


def _stores(usages: Iterable[Usage], nodes: Iterable[ChrekNode]) -> dict[tuple[str, str], StoreStatus]:
    """By type and location. What was added up before the newest capture into a store is not told: it may be far off."""
    places: dict[str, tuple[str, str]] = {}
    newest: dict[tuple[str, str], StoreStatus] = {}
    for node in nodes:
        store = node.status.store
        if store.location:
            place = places[node.metadata.name] = store.type, store.location
            newest[place] = max(newest.get(place, store), store, key=_measured)
    for usage in usages:
        found = places.get(usage.node)
        measured = newest[found].measured_at if found else None
        if found and measured and usage.captured_at and measured < usage.captured_at:
            newest[found] = newest[found].model_copy(update=_NOT_COUNTED)
    return newest


def _measured(store: StoreStatus) -> datetime:
    return store.measured_at or datetime.min.replace(tzinfo=UTC)


def _usage(checkpoint: Checkpoint, *, active: bool) -> Usage | None:
    """What it takes; None without an artifact."""
    metadata, status, artifact = checkpoint.metadata, checkpoint.status, checkpoint.status.artifact
    if artifact is None:
        return None
    stored = artifact.bytes if artifact.stored_bytes is None else artifact.stored_bytes
    place = (metadata.namespace, metadata.name, status.storage_type, model_of(checkpoint))
    return Usage(
        *place,
        logical=artifact.bytes,
        stored=stored,
        unique=freed_bytes(checkpoint),
        active=active,
        node=artifact.node,
        captured_at=artifact.captured_at,
    )


def _by_size(usage: Usage) -> tuple[int, str, str]:
    return -usage.logical, usage.namespace, usage.name


async def _users(cluster: Cluster, scope: str) -> Users:
    """Who refers to checkpoints of the scope."""
    users = Users()
    users.add_graphs(await _graphs(cluster, scope))
    async with aclosing(cluster.pages(PODS, scope)) as pages:
        async for pods in pages:
            users.add_pods(pods)
    return users


async def _graphs(cluster: Cluster, scope: str) -> list[dict[str, Any]]:
    try:
        return await cluster.list(GRAPHS, scope)
    except NotFoundError:
        return []


async def _nodes(cluster: Cluster) -> list[ChrekNode]:
    """Without the kind, or the right to list it, there is nothing to tell of stores: only the lines about them are missing."""
    try:
        return await fetch_nodes(cluster)
    except NotFoundError:
        return []
    except ClusterError as error:
        if error.status == 403:
            return []
        raise
