"""Deleting packs that no artifact refers to, in two phases, so that nothing that a capture is about to refer to ever goes.

A pack without a live chunk gets a tombstone. Captures no longer rely on it, and one that already does copies the chunk before it
commits. After a grace longer than any capture all manifests are looked at again: the pack goes, or loses its tombstone.
"""

import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from chrek_agent.store.backend import Backend
from chrek_agent.store.catalog import TOMBSTONES, is_young
from chrek_agent.store.index import index_key, pack_key
from chrek_agent.store.survey import Survey, read_survey

GRACE: Final = timedelta(hours=2)
"""Longer than any capture, and than agents' clocks are apart."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did; `abandoned` says why it did nothing, or not all."""

    tombstoned: list[str] = field(default_factory=list)
    lifted: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    deleted_bytes: int = 0
    pruned: int = 0
    abandoned: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Packs to mark, to unmark and to delete."""

    tombstone: list[str]
    lift: list[str]
    delete: list[str]


def plan(survey: Survey, times: dict[str, datetime], now: datetime, grace: timedelta) -> Plan:
    """What is to be done. Pure.

    Args:
        survey: A store of which all manifests are readable.
        times: When each tombstone was set.
        now: The present.
        grace: How long a tombstone stands, and how long a pack is new.
    """
    catalog, live = survey.catalog, set(survey.homes.values())
    result = Plan([], [], [])
    for pack in sorted(survey.units() | times.keys()):
        marked = pack in times
        if pack in live:
            if marked:
                result.lift.append(pack)
        elif marked:
            # An index that cannot be read may hide chunks that are needed.
            if times[pack] + grace <= now and pack not in catalog.damaged:
                result.delete.append(pack)
        elif pack not in catalog.damaged and not is_young(catalog.listing, pack, now - grace):
            result.tombstone.append(pack)
    return result


def sweep(backend: Backend, now: datetime, grace: timedelta) -> Swept:
    """One pass. It is safe at any time, also by several agents at once. Raises OSError, having deleted nothing that is needed."""
    begun = time.monotonic()
    survey = read_survey(backend)
    if survey.unreadable:
        return Swept(abandoned=f"{survey.unreadable[0]} cannot be read, so that nothing is known to be dead")
    todo = plan(survey, _times(backend, survey), now, grace)
    for pack in todo.lift:
        backend.delete(tombstone_key(pack))
    for pack in todo.tombstone:
        bury(backend, pack, now)
    deleted: list[str] = []
    abandoned = ""
    for pack in todo.delete:
        if time.monotonic() - begun > grace.total_seconds() / 2:
            abandoned = "it took so long that what it saw may be out of date"
            break
        _delete(backend, pack)
        deleted.append(pack)
    packs = survey.catalog.listing.packs
    freed = sum(packs[pack].size for pack in deleted if pack in packs)
    return Swept(todo.tombstone, todo.lift, deleted, freed, backend.prune(now - grace), abandoned)


def tombstone_key(pack: str) -> str:
    """Where a pack's tombstone is."""
    return f"{TOMBSTONES}{pack}"


def bury(backend: Backend, pack: str, now: datetime) -> None:
    """Sets a tombstone."""
    backend.put(tombstone_key(pack), json.dumps({"at": now.isoformat()}).encode())


def _times(backend: Backend, survey: Survey) -> dict[str, datetime]:
    """When each tombstone was set: the later of what it says and its own age, for clocks differ."""
    times = {}
    for pack, entry in survey.catalog.listing.tombstones.items():
        times[pack] = entry.modified
        try:
            said = datetime.fromisoformat(json.loads(backend.read(entry.key, 0, 1 << 10))["at"])
            times[pack] = max(said, entry.modified)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # Lifted just now, or damaged: then its own age counts.
    return times


def _delete(backend: Backend, pack: str) -> None:
    """The index first, so that nobody finds chunks in half a pack; the tombstone last, so that the rest is not forgotten."""
    backend.delete(index_key(pack))
    backend.delete(pack_key(pack))
    backend.delete(tombstone_key(pack))
