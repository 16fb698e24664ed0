"""Copying what is left of mostly dead packs together, so that their room returns.

Manifests name chunks, not packs: the copies are published, then the old packs get tombstones, and a sweep deletes them. Killed
in between, a repack leaves chunks twice, of which a sweep keeps one.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store.backend import Backend
from chrek_agent.store.catalog import is_young
from chrek_agent.store.deposit import copy_chunk
from chrek_agent.store.pack import PACK_BYTES, Packs
from chrek_agent.store.sealing import Keyring
from chrek_agent.store.survey import Survey, read_survey
from chrek_agent.store.sweep import bury

BELOW: Final = 0.5
"""A pack of which less than this share is live is copied."""
BATCH: Final = 8 << 30
"""Bytes of copies after which the packs that they are from are given up: what comes later may fail."""


@dataclass(frozen=True, slots=True)
class Repacked:
    """What a repack did: packs that it emptied, bytes that it copied, and those packs of which it could not read everything."""

    packs: list[str] = field(default_factory=list)
    copied_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    abandoned: str = ""


def candidates(survey: Survey, before: datetime, below: float, keys: Keyring, *, reseal: bool = False) -> list[str]:
    """Packs worth the copy: written before that time and mostly dead, but not wholly; with `reseal` all under other keys too. Pure.

    What is sealed must not be unsealed by it, and those that it cannot open it leaves to others.
    """
    live, catalog = survey.live_bytes(), survey.catalog
    return [
        pack
        for pack, index in sorted(catalog.indexes.items())
        if live[pack]
        and (live[pack] < below * index.size or (reseal and index.key != keys.current))
        and _movable(index.key, keys)
        and catalog.listing.is_live(pack)
        and not is_young(catalog.listing, pack, before)
    ]


def _movable(key: str, keys: Keyring) -> bool:
    return not key or (bool(keys.current) and keys.holds(key))


def repack(
    backend: Backend, now: datetime, grace: timedelta, below: float, keys: Keyring, *, reseal: bool = False, batch: int = BATCH
) -> Repacked:
    """One pass. Raises OSError, having lost nothing; what it has finished by then stays."""
    survey = read_survey(backend)
    if survey.unreadable:
        return Repacked(abandoned=f"{survey.unreadable[0]} cannot be read, so that nothing is known to be dead")
    packs = Packs(backend, PACK_BYTES, keys)
    result, copied, settled = Repacked(), [], 0
    try:
        for pack in candidates(survey, now - grace, below, keys, reseal=reseal):
            try:
                _copy_live(backend, packs, survey, pack, keys)
            except ArtifactError:
                result.damaged.append(pack)
                continue
            copied.append(pack)
            if packs.size - settled >= batch:
                _settle(backend, packs, copied, now)
                result.packs.extend(copied)
                copied, settled = [], packs.size
        _settle(backend, packs, copied, now)
    except BaseException:
        packs.abandon()
        raise
    return replace(result, packs=[*result.packs, *copied], copied_bytes=packs.size)


def _settle(backend: Backend, packs: Packs, copied: list[str], now: datetime) -> None:
    """The copies are there before anything says that the others are to go."""
    with ThreadPoolExecutor(1) as pool:
        packs.publish(pool)
    for pack in copied:
        bury(backend, pack, now)


def _copy_live(backend: Backend, packs: Packs, survey: Survey, pack: str, keys: Keyring) -> None:
    for digest, record in survey.catalog.indexes[pack].records.items():
        if survey.homes.get(digest) == pack:
            copy_chunk(backend, packs, pack, record, keys)
