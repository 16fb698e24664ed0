"""A worker's side and an agent's side of memory apart in one process, over a real socket and a store in a directory."""

import asyncio
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from chrek_agent.apart.listener import Listener
from chrek_agent.apart.saving import Saving
from chrek_agent.apart.serving import Serving
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store, new_generation
from chrek_worker.apart import loading, saving

HASH = "5941a4cb3c363457"
SOCKET = "apart.sock"


def fields() -> Fields:
    source = Source(node="n", pod="p", container="main", image="i", image_id="", worker=2, pids=[2], pipes={})
    owner = Owner(namespace="ns", name="cp", uid="u")
    return Fields(
        identity_hash=HASH, identity={}, created_at=datetime.now(UTC), owner=owner, source=source, compatibility={}, deleted=[]
    )


@dataclass
class World:
    container: object
    directory: Path
    """The control directory."""
    store: Store
    limit: int = 1 << 30
    kept: dict = field(default_factory=dict)

    @property
    def path(self) -> str:
        return str(self.directory / SOCKET)

    @contextmanager
    def saving(self):
        """An agent that takes what is apart."""
        number = len(list(self.store.scratch.glob("*"))) if self.store.scratch.exists() else 0
        found = Saving(lambda: self.store.begin(f"apart-{number}", compress=False), self.limit)
        try:
            with Listener(self.container, found.serve):
                yield found
        finally:
            found.abandon()

    def save(self, memories: Sequence, others: Sequence[tuple[str, bytes]] = ()):
        """Saves the memories, and some files beside; returns the manifest and its digest."""
        with self.saving() as found:
            self.kept = saving.save(self.path, memories)
            found.check(sum(one.length for stretches in self.kept.values() for one in stretches))
            generation = new_generation(datetime.now(UTC))
            with self.store.begin(generation) as writer:
                for name, content in others:
                    path = writer.staging / name
                    path.write_bytes(content)
                    writer.add_file(name, path)
                found.describe(writer.staging)
                for path in writer.staging.glob("apart.json"):
                    writer.add_file(path.name, path)
                writer.join(found.writer)
                return writer.commit(fields())

    def vacate(self) -> None:
        for memory in self.kept:
            for region in memory.regions():
                memory.vacate(region)

    async def load(self, manifest, digest: str, place=None) -> Serving:
        """Has it loaded from an artifact; returns the agent's side, closed."""
        with self.store.open(HASH, manifest.generation, digest) as artifact:
            async with Serving(self.container, artifact, place) as serving:
                serving.verify()
                await asyncio.to_thread(loading.load, self.path, self.kept)
                await asyncio.wait_for(serving.done.wait(), 10)
                return serving
