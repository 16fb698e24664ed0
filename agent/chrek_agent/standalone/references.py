"""Which artifact a person means: `HASH` (its newest generation), `HASH/GENERATION`, or the directory of one."""

from dataclasses import dataclass
from pathlib import Path

from chrek_agent.errors import ArtifactError
from chrek_agent.store.model import MANIFEST, digest_manifest


@dataclass(frozen=True, slots=True)
class Reference:
    """One artifact in a store. Nobody keeps its digest beside it here: what is read is compared with the manifest that is found."""

    base: Path
    identity_hash: str
    generation: str
    digest: str


def resolve(word: str, base: Path) -> Reference:
    """The artifact of this word in the store at `base`; the directory of one says itself where its store is.

    Raises:
        ArtifactError: There is none.
    """
    path = Path(word)
    if (path / MANIFEST).is_file():
        path = path.resolve()
        base = path.parent.parent
    else:
        path = base / word
        if len(Path(word).parts) == 1:
            path = _newest(path)
    try:
        digest = digest_manifest((path / MANIFEST).read_bytes())
    except OSError as error:
        raise ArtifactError(f"there is no artifact {word} in {base}", hint="name it as HASH or HASH/GENERATION") from error
    return Reference(base, path.parent.name, path.name, digest)


def _newest(home: Path) -> Path:
    """Generations sort by time."""
    found = sorted(path.parent for path in home.glob(f"*/{MANIFEST}"))
    return found[-1] if found else home
