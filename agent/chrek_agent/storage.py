"""The store in a ChrekNode's status: its file system's room, and what artifacts take of it."""

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from chrek_agent.store.usage import Usage
from kubectl_chrek.api.errors import ChrekError


class Measured(Protocol):
    """The part of a store that is needed here."""

    def usage(self) -> Usage:
        """Who uses how much."""


def store_status(base: Path, usage: Usage | None) -> dict[str, Any]:
    """`status.store`; what is not known is None."""
    status: dict[str, Any] = {"type": "directory", "location": str(base)}
    status |= {"totalBytes": None, "freeBytes": None, "logicalBytes": None, "storedBytes": None, "reclaimableBytes": None}
    with suppress(OSError):
        room = shutil.disk_usage(base)
        status |= {"totalBytes": room.total, "freeBytes": room.free}
    if usage is not None:
        status |= {
            "logicalBytes": usage.logical,
            "storedBytes": usage.stored,
            "reclaimableBytes": usage.reclaimable,
            "artifacts": len(usage.artifacts),
        }
    return status


def measure(store: Measured) -> Usage | None:
    """Who uses how much; None when it cannot be found out. Blocks: it reads every manifest."""
    with suppress(OSError, ChrekError):
        return store.usage()
    return None


def shares(checkpoints: Iterable[Mapping[str, Any]], usage: Usage, node: str) -> list[tuple[Mapping[str, Any], int]]:
    """Checkpoints captured on this node whose status tells another share of the store as their own than it is now: with that.

    Other captures may share an artifact's chunks later, or cease to.
    """
    unique = {found.generation: found.unique for found in usage.artifacts}
    changed = []
    for body in checkpoints:
        artifact = (body.get("status") or {}).get("artifact") or {}
        now = unique.get(artifact.get("generation", ""))
        if artifact.get("node") == node and now is not None and now != artifact.get("uniqueBytes"):
            changed.append((body, now))
    return changed
