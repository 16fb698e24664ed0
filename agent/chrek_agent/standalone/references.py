"""Which artifact a person means: `HASH` (its newest generation), `HASH/GENERATION`, or its place as a directory or a URI."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.errors import AgentError, ArtifactError
from chrek_agent.store.model import MANIFEST, digest_manifest
from chrek_agent.store.store import Store
from chrek_agent.store.survey import MANIFEST_LIMIT, manifest_keys
from chrek_agent.store.where import open_store

_PLACE: Final = re.compile(r"(\w+://[^?]+)/([0-9a-f]{16})(?:/([^/?]+))?/?(\?.*)?")

_NAME: Final = re.compile(r"\w[\w-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """One artifact in a store. Nobody keeps its digest beside it here: what is read is compared with the manifest that is found."""

    store: Store
    base: str
    identity_hash: str
    generation: str
    digest: str

    @property
    def named(self) -> tuple[str, str, str]:
        """Hash, generation and digest, as a store asks for them."""
        return self.identity_hash, self.generation, self.digest


def absolute(location: str) -> str:
    """A location of a store; a directory may be given as seen from here."""
    return location if "://" in location else str(Path(location).absolute())


def resolve(word: str, location: str, scratch: Path) -> Reference:
    """The artifact of this word in the store at a location; the place of one says itself where its store is.

    Args:
        word: See above.
        location: A directory, `s3://...` or `oci://...`.
        scratch: Where a remote store keeps small files on this machine.

    Raises:
        ArtifactError: There is none.
        AgentError: The store refused.
        UsageError: The location means nothing.
    """
    place, path = _PLACE.fullmatch(word), Path(word)
    if place:
        base, name = f"{place[1]}{place[4] or ''}", "/".join(filter(None, place.group(2, 3)))
    elif (path / MANIFEST).is_file():
        path = path.resolve()
        base, name = str(path.parent.parent), f"{path.parent.name}/{path.name}"
    else:
        base, name = absolute(location), word
    store = open_store(base, scratch)
    identity_hash, _, generation = name.partition("/")
    with said():
        keys = _generations(store, identity_hash, generation) if _NAME.fullmatch(name) else []
        if not keys:
            raise ArtifactError(f"there is no artifact {word} in {base}", hint="name it as HASH or HASH/GENERATION")
        content = store.backend.read(keys[-1], 0, MANIFEST_LIMIT)  # Generations sort by time.
    return Reference(store, base, identity_hash, keys[-1].split("/")[1], digest_manifest(content))


def _generations(store: Store, identity_hash: str, generation: str) -> list[str]:
    prefix = "/".join(filter(None, (identity_hash, generation)))
    return sorted(manifest_keys(store.backend, f"{prefix}/"))


@contextmanager
def said() -> Iterator[None]:
    """What a store or a disk refuses, as one line."""
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise AgentError(f"{named}{error.strerror or error}") from error
