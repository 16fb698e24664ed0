"""Reading chunks for a fill: from local packs by their own way, all others by the store's."""

from types import TracebackType
from typing import Final, Self

from chrek_agent.memory.files import PackFiles
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.reading import Chunk

RAW: Final = "raw"


class PackReader:
    """Reads chunks' stored pages; any thread may use it."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._files = PackFiles()

    def close(self) -> None:
        """Closes all packs."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, chunk: Chunk, into: memoryview) -> memoryview:
        """The chunk's non-zero pages, dense and writable, not yet checked; `into` is one page-aligned chunk.

        Raises OSError, or ArtifactError when they cannot be there.
        """
        place = chunk.place
        if place.codec == RAW and place.path is not None:
            view = self._files.read(place.path, place.offset, place.stored, into)
            if view is not None:
                return view
        return self._fetch(chunk, into)

    def _fetch(self, chunk: Chunk, into: memoryview) -> memoryview:
        dense = self._artifact.fetch(chunk, into)
        if dense.readonly:
            into[: len(dense)] = dense
            return into[: len(dense)]
        return dense
