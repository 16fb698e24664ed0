"""Who uses how much of a store, in bytes."""

from collections import Counter
from dataclasses import dataclass

from chrek_agent.store.cached import PieceCache
from chrek_agent.store.index import pack_key
from chrek_agent.store.model import Owner
from chrek_agent.store.survey import Stored, Survey


@dataclass(frozen=True, slots=True)
class ArtifactUsage:
    """One artifact.

    `logical` is its content, `stored` what its chunks take up in packs: `unique` of its own, that would return if it were
    deleted, and `shared` with others.
    """

    identity_hash: str
    generation: str
    owner: Owner
    logical: int
    stored: int
    unique: int
    shared: int
    cached: int = 0
    """Of `stored`, bytes that this node has in its cache."""
    packs: int = 0
    """How many hold its chunks."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A whole store.

    `stored` are all packs with their indexes, of which `reclaimable` belongs to no artifact; `shared` is counted once here.
    `unreadable` names manifests that nobody can read: while there are any, nothing is reclaimed.
    """

    logical: int
    stored: int
    unique: int
    shared: int
    reclaimable: int
    artifacts: list[ArtifactUsage]
    unreadable: list[str]


def measure(survey: Survey, cache: PieceCache | None = None) -> Usage:
    """Changes nothing; `cache` is this node's."""
    users = Counter(digest for artifact in survey.artifacts for digest in artifact.digests)
    room = {digest: survey.catalog.indexes[pack].records[digest].room for digest, pack in survey.homes.items()}
    artifacts = []
    for artifact in survey.artifacts:
        stored = sum(room.get(digest, 0) for digest in artifact.digests)
        unique = sum(room.get(digest, 0) for digest in artifact.digests if users[digest] == 1)
        artifacts.append(
            ArtifactUsage(
                identity_hash=artifact.identity_hash,
                generation=artifact.generation,
                owner=artifact.owner,
                logical=artifact.logical,
                stored=stored,
                unique=unique,
                shared=stored - unique,
                cached=0 if cache is None else _cached(survey, artifact, cache),
                packs=len({survey.homes[digest] for digest in artifact.digests & survey.homes.keys()}),
            )
        )
    listing = survey.catalog.listing
    unique = sum(artifact.unique for artifact in artifacts)
    live = sum(room.values())
    packs = sum(entry.size for entry in listing.packs.values())
    return Usage(
        logical=sum(artifact.logical for artifact in artifacts),
        stored=packs + sum(entry.size for entry in listing.indexes.values()),
        unique=unique,
        shared=live - unique,
        reclaimable=packs - live,
        artifacts=artifacts,
        unreadable=survey.unreadable,
    )


def _cached(survey: Survey, artifact: Stored, cache: PieceCache) -> int:
    found = 0
    for digest in artifact.digests & survey.homes.keys():
        pack = survey.homes[digest]
        record = survey.catalog.indexes[pack].records[digest]
        if cache.holds(pack_key(pack), record.offset, record.stored):
            found += record.room
    return found
