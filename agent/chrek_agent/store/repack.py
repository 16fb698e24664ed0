"""Copying what is left of mostly dead packs together, so that their room returns.

Manifests name chunks, not packs: the copies are published, then the old packs get tombstones, and a sweep deletes them. Killed
in between, a repack leaves chunks twice, of which a sweep keeps one.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store.backend import Backend
from chrek_agent.store.catalog import is_young
from chrek_agent.store.deposit import copy_chunk
from chrek_agent.store.pack import PACK_BYTES, Packs
from chrek_agent.store.survey import Survey, read_survey
from chrek_agent.store.sweep import bury

BELOW: Final = 0.5
"""A pack of which less than this share is live is copied."""


@dataclass(frozen=True, slots=True)
class Repacked:
    """What a repack did: packs that it emptied, bytes that it copied, and those packs of which it could not read everything."""

    packs: list[str] = field(default_factory=list)
    copied_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    abandoned: str = ""


def candidates(survey: Survey, before: datetime, below: float) -> list[str]:
    """Packs worth the copy: written before that time and mostly dead, but not wholly. Pure."""
    live, catalog = survey.live_bytes(), survey.catalog
    return [
        pack
        for pack, index in sorted(catalog.indexes.items())
        if 0 < live[pack] < below * index.size and catalog.listing.is_live(pack) and not is_young(catalog.listing, pack, before)
    ]


def repack(backend: Backend, now: datetime, grace: timedelta, below: float) -> Repacked:
    """One pass. Raises OSError, having lost nothing."""
    survey = read_survey(backend)
    if survey.unreadable:
        return Repacked(abandoned=f"{survey.unreadable[0]} cannot be read, so that nothing is known to be dead")
    packs = Packs(backend, PACK_BYTES)
    emptied, damaged = [], []
    try:
        for pack in candidates(survey, now - grace, below):
            try:
                _copy_live(backend, packs, survey, pack)
            except ArtifactError:
                damaged.append(pack)
            else:
                emptied.append(pack)
        with ThreadPoolExecutor(1) as pool:
            packs.publish(pool)
    except BaseException:
        packs.abandon()
        raise
    for pack in emptied:
        bury(backend, pack, now)
    return Repacked(emptied, packs.size, damaged)


def _copy_live(backend: Backend, packs: Packs, survey: Survey, pack: str) -> None:
    for digest, record in survey.catalog.indexes[pack].records.items():
        if survey.homes.get(digest) == pack:
            copy_chunk(backend, packs, pack, record)
