"""What the store's packs hold, by their indexes."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from chrek_agent.errors import ArtifactError
from chrek_agent.store.backend import Backend, Entry
from chrek_agent.store.index import INDEX_END, PACK_END, PACKS, Index, Record, index_key, pack_key, parse_index

TOMBSTONES: Final = "tombstones/"
_FEW: Final = 4
_AT_ONCE: Final = 8
_INDEX_LIMIT: Final = 64 << 20
"""More than the index of a pack of single pages; a longer one is damaged."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Listing:
    """The names of what is there; `tombstones` are packs that a sweep has found dead."""

    tombstones: dict[str, Entry]
    packs: dict[str, Entry]
    indexes: dict[str, Entry]

    def is_live(self, pack: str) -> bool:
        """It is whole and not about to go."""
        return pack in self.packs and pack in self.indexes and pack not in self.tombstones


def read_listing(backend: Backend) -> Listing:
    """Raises OSError. Tombstones first: they are the last to go, so that no pack is taken for live that was just deleted."""
    tombstones = {entry.key.removeprefix(TOMBSTONES): entry for entry in backend.list(TOMBSTONES)}
    packs, indexes = {}, {}
    for entry in backend.list(PACKS):
        name = entry.key.removeprefix(PACKS)
        if name.endswith(PACK_END):
            packs[name.removesuffix(PACK_END)] = entry
        elif name.endswith(INDEX_END):
            indexes[name.removesuffix(INDEX_END)] = entry
    return Listing(tombstones, packs, indexes)


def complete(backend: Backend, listing: Listing, packs: Iterable[str]) -> Listing:
    """The listing with those of these packs that are there, though it did not say so: it may be older than they are.

    Raises OSError. Who asks knows that they have been written; when that was is not asked.
    """
    named = list(packs)
    found = _look(
        backend,
        [pack_key(pack) for pack in named if pack not in listing.packs]
        + [index_key(pack) for pack in named if pack not in listing.indexes],
    )
    return Listing(
        listing.tombstones, listing.packs | _named(found, named, pack_key), listing.indexes | _named(found, named, index_key)
    )


def look_up(backend: Backend, packs: Iterable[str]) -> Listing:
    """These packs alone, each asked for by its name: a store may have thousands of others. Raises OSError. Tombstones first too."""
    named = list(packs)
    tombstones = _named(_look(backend, [_tombstone_key(pack) for pack in named]), named, _tombstone_key)
    return complete(backend, Listing(tombstones, {}, {}), named)


def _tombstone_key(pack: str) -> str:
    return f"{TOMBSTONES}{pack}"


def _named(found: Mapping[str, Entry], packs: Iterable[str], key: Callable[[str], str]) -> dict[str, Entry]:
    return {pack: found[key(pack)] for pack in packs if key(pack) in found}


def _look(backend: Backend, keys: list[str]) -> dict[str, Entry]:
    """Those that are there. All at once: each answer is waited for."""

    def look(key: str) -> Entry | None:
        with suppress(FileNotFoundError):
            return Entry(key, backend.size(key), datetime.now(UTC))
        return None

    return {entry.key: entry for entry in each(look, keys) if entry is not None}


def read_index(backend: Backend, pack: str) -> Index:
    """One index; raises OSError, or ArtifactError as `parse_index`."""
    return parse_index(pack, backend.read(index_key(pack), 0, _INDEX_LIMIT))


@dataclass(frozen=True, slots=True)
class Catalog:
    """The indexes of packs that are there in their full size; of others, what is wrong with them."""

    listing: Listing
    indexes: dict[str, Index]
    damaged: dict[str, str] = field(default_factory=dict)

    def homes(self, key: str) -> dict[bytes, str]:
        """For each chunk a pack that a new artifact may rely on: one under the key of this name, or unsealed if there is none."""
        live = [index for pack, index in self.indexes.items() if self.listing.is_live(pack) and index.key == key]
        return {digest: index.pack for index in live for digest in index.records}

    def locate(self, digests: Iterable[bytes], preferred: Callable[[str], bool]) -> dict[bytes, tuple[str, Record]]:
        """A place for each of these chunks that has one: under a preferred key and in packs that stay, where possible."""
        wanted = set(digests)
        found: dict[bytes, tuple[str, Record]] = {}
        order = {pack: (not preferred(index.key), pack in self.listing.tombstones, pack) for pack, index in self.indexes.items()}
        for pack in sorted(order, key=order.__getitem__):
            records = self.indexes[pack].records
            for digest in (wanted & records.keys()) - found.keys():
                found[digest] = pack, records[digest]
        return found


def read_catalog(backend: Backend, listing: Listing, only: Iterable[str] | None = None) -> Catalog:
    """The indexes of all packs of the listing, or of `only` some; raises OSError."""
    indexes: dict[str, Index] = {}
    names = sorted(listing.indexes.keys() & (listing.indexes if only is None else only))
    damaged = {pack: f"pack {pack} is missing" for pack in names if pack not in listing.packs}
    whole = [pack for pack in names if pack in listing.packs]
    for pack, index in zip(whole, _read_indexes(backend, whole), strict=True):
        if isinstance(index, ArtifactError):
            damaged[pack] = str(index)
        elif index is not None and listing.packs[pack].size == index.size:
            indexes[pack] = index
        elif index is not None:
            damaged[pack] = f"pack {pack} has {listing.packs[pack].size} bytes, not {index.size}"
    return Catalog(listing, indexes, damaged)


def _read_indexes(backend: Backend, packs: list[str]) -> list[Index | ArtifactError | None]:
    """Each index, what is wrong with it, or None where a sweep has just deleted it."""

    def read(pack: str) -> Index | ArtifactError | None:
        try:
            return read_index(backend, pack)
        except FileNotFoundError:
            return None
        except ArtifactError as error:
            return error

    return each(read, packs)


def each(ask: Callable[[str], Found], of: list[str]) -> list[Found]:
    """What is asked about each, in order; where they are many, several at once."""
    if len(of) <= _FEW:
        return [ask(one) for one in of]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, of))


def is_young(listing: Listing, pack: str, before: datetime) -> bool:
    """A part of it was written after this time: its capture may still be under way."""
    entries = [group[pack] for group in (listing.packs, listing.indexes) if pack in group]
    return any(entry.modified > before for entry in entries)
