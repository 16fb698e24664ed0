"""Everything that is in a store, looked at once: what usage, sweep and repack are planned from. The plans are pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store.backend import Backend
from chrek_agent.store.catalog import TOMBSTONES, Catalog, each, read_catalog, read_listing
from chrek_agent.store.index import PACKS
from chrek_agent.store.model import MANIFEST, Manifest, Owner, parse_manifest

MANIFEST_LIMIT: Final = 256 << 20
"""More than that of an artifact of 4 TiB; a longer one is damaged."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One artifact as far as space is concerned."""

    identity_hash: str
    generation: str
    owner: Owner
    logical: int
    digests: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at a store; `unreadable` are manifests that cannot be read, which may refer to anything."""

    artifacts: list[Stored]
    unreadable: list[str]
    catalog: Catalog
    homes: dict[bytes, str] = field(init=False)
    """For each chunk that an artifact refers to the one pack that has to keep it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "homes", _homes(self.catalog, self.referenced()))

    def referenced(self) -> set[bytes]:
        """All chunks that some artifact refers to."""
        return set[bytes]().union(*(artifact.digests for artifact in self.artifacts))

    def live_bytes(self) -> Counter[str]:
        """Bytes in each pack that it has to keep."""
        live: Counter[str] = Counter()
        for digest, pack in self.homes.items():
            live[pack] += self.catalog.indexes[pack].records[digest].room
        return live

    def units(self) -> set[str]:
        """All packs, whole or not."""
        return self.catalog.listing.packs.keys() | self.catalog.listing.indexes.keys()


def _homes(catalog: Catalog, referenced: set[bytes]) -> dict[bytes, str]:
    """Of several packs with the same chunk one that is not about to go keeps it, and of those the one that is used most.

    Those under the key that a pack was sealed with last come first, or those that are not sealed if such a one was written last:
    what is under a former key, or lay open before there was one, is to go with the artifacts of its time. The choice depends on
    nothing but what is there: two sweeps at once agree.
    """
    indexes, listing = catalog.indexes, catalog.listing
    used = {
        pack: sum(index.records[digest].room for digest in referenced & index.records.keys()) / max(index.size, 1)
        for pack, index in indexes.items()
    }
    last: dict[str, float] = {}
    for pack, index in indexes.items():
        last[index.key] = max(last.get(index.key, 0.0), listing.indexes[pack].modified.timestamp())

    def rank(pack: str) -> tuple[object, ...]:
        key = indexes[pack].key
        return pack in listing.tombstones, -last[key], not key, -used[pack], pack

    homes: dict[bytes, str] = {}
    for pack in sorted(used, key=rank):
        for digest in (referenced & indexes[pack].records.keys()) - homes.keys():
            homes[digest] = pack
    return homes


def read_survey(backend: Backend) -> Survey:
    """Raises OSError if any list or read fails: what was not seen must not be taken for dead."""
    catalog = read_catalog(backend, read_listing(backend))
    keys = manifest_keys(backend, "")

    def read(key: str) -> Stored | None:
        identity_hash, generation, _ = key.split("/")
        try:
            return _stored(identity_hash, parse_manifest(generation, backend.read(key, 0, MANIFEST_LIMIT)))
        except FileNotFoundError:
            gone.add(key)  # It was deleted just now.
        except ArtifactError:
            pass
        return None

    gone: set[str] = set()
    found = dict(zip(keys, each(read, keys), strict=True))
    unreadable = [key for key in keys if found[key] is None and key not in gone]
    return Survey([stored for stored in found.values() if stored is not None], unreadable, catalog)


def manifest_keys(backend: Backend, prefix: str) -> list[str]:
    """The keys of all manifests below a prefix."""
    keys = [entry.key for entry in backend.list(prefix)]
    own = (PACKS, TOMBSTONES)
    return [key for key in keys if key.count("/") == 2 and key.endswith(f"/{MANIFEST}") and not key.startswith(own)]


def _stored(identity_hash: str, manifest: Manifest) -> Stored:
    digests = frozenset(manifest.digests())
    return Stored(identity_hash, manifest.generation, manifest.owner, manifest.size, digests)
