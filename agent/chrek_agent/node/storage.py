"""The store in a ChrekNode's status: its room, and what artifacts take of it."""

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from chrek_agent.store.cached import PieceCache
from chrek_agent.store.usage import Usage
from chrek_agent.store.where import kind, parse_place, plain
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api.errors import ChrekError

_MEASURED: Final = ("logicalBytes", "storedBytes", "reclaimableBytes", "artifacts", "measuredAt")


class Measured(Protocol):
    """The part of a store that is needed here."""

    def usage(self) -> Usage:
        """Who uses how much."""


def store_status(location: str | Path, usage: Usage | None, at: datetime) -> dict[str, Any]:
    """`status.store`, measured from `at` on; what is not known is None, as the room of a bucket never is."""
    place = parse_place(str(location))
    status: dict[str, Any] = {"type": kind(str(location)), "location": plain(str(location))}
    status |= dict.fromkeys(("totalBytes", "freeBytes", "free", *_MEASURED))
    if isinstance(place, Path):
        with suppress(OSError):
            room = shutil.disk_usage(place)
            status |= {"totalBytes": room.total, "freeBytes": room.free, "free": quantity(room.free)}
    if usage is not None:
        # To the microsecond: of several nodes' figures the newest count.
        measured = (usage.logical, usage.stored, usage.reclaimable, len(usage.artifacts), at.isoformat(timespec="microseconds"))
        status |= dict(zip(_MEASURED, measured, strict=True))
    return status


def quantity(size: int) -> str:
    """Bytes as Kubernetes writes them, rounded down to at least two digits: `412Gi`, `1497Gi`."""
    for unit in ("", "Ki", "Mi", "Gi", "Ti"):
        if size < 10 * 1024:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}Pi"


def cache_status(cache: PieceCache, usage: Usage | None) -> dict[str, Any]:
    """`status.cache`; `hashes` are those of which the cache has at least half."""
    found = () if usage is None else usage.artifacts
    hashes = sorted({artifact.identity_hash for artifact in found if 2 * artifact.cached >= artifact.stored > 0})
    return {"bytes": cache.size, "quotaBytes": cache.quota, "hashes": hashes}


def copies(
    checkpoints: Iterable[Mapping[str, Any]], usage: Usage, node: str, now: datetime
) -> list[tuple[Mapping[str, Any], list[Any]]]:
    """Checkpoints whose `status.caches` says something else of this node than is so: with what it should say of all nodes."""
    cached = {found.generation: found for found in usage.artifacts}
    changed = []
    for body in checkpoints:
        status = body.get("status") or {}
        generation = (status.get("artifact") or {}).get("generation", "")
        found = cached.get(generation)
        held = found.cached if found else 0
        said = status.get("caches") or []
        if held != sum(copy.get("bytes", 0) for copy in said if copy["node"] == node):
            own = [{"node": node, "bytes": held, "total": found.stored, "at": timestamp(now)}] if found and held else []
            changed.append((body, [copy for copy in said if copy["node"] != node] + own))
    return changed


def measure(store: Measured) -> Usage | None:
    """Who uses how much; None when it cannot be found out. Blocks: it reads every manifest."""
    with suppress(OSError, ChrekError):
        return store.usage()
    return None


def shares(checkpoints: Iterable[Mapping[str, Any]], usage: Usage, node: str) -> list[tuple[Mapping[str, Any], dict[str, int]]]:
    """Checkpoints captured on this node whose status tells otherwise than it is now what they take of the store: with that.

    Other captures may share an artifact's chunks later, or cease to; a repack moves them.
    """
    taken = {
        found.generation: {"uniqueBytes": found.unique, "sharedBytes": found.shared, "packs": found.packs}
        for found in usage.artifacts
    }
    changed = []
    for body in checkpoints:
        artifact = (body.get("status") or {}).get("artifact") or {}
        now = taken.get(artifact.get("generation", ""), {})
        if artifact.get("node") == node and any(artifact.get(field) != value for field, value in now.items()):
            changed.append((body, now))
    return changed
