"""Artifacts that a node is asked, by annotation, to have in its cache before any pod needs them there.

The wish stands as long as the annotation does: an agent that starts later, or on a new node, sees to it too. How far it is stands
among the node's operations, how it ended in the checkpoint's `status.caches`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.errors import AgentError, ArtifactError
from chrek_agent.store.artifact import REMOTE_THREADS, Artifact
from chrek_agent.store.cached import PieceCache
from chrek_agent.store.index import pack_key
from chrek_agent.store.model import Blob, Run
from chrek_agent.store.reading import Chunk
from chrek_agent.store.store import Store
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.api.staging import parse, wants
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

LOG: Final = logging.getLogger(__name__)
KIND: Final = "stage"
AT_ONCE: Final = 1
"""Artifacts that a node stages at a time: pods that are restored meanwhile need its network more."""
REPORTS: Final = 20
"""How often a report is tried that meets other nodes' reports."""

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all; by any thread, one at a time."""


class Stager:
    """Stages artifacts for one node's agent."""

    def __init__(self, cluster: Cluster, store: Store, instruments: Instruments, node: str) -> None:
        self._cluster = cluster
        self._store = store
        self._instruments = instruments
        self._node = node
        self._seen: dict[str, str] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    def is_asked(self, body: Mapping[str, Any]) -> bool:
        """Our node is to have it, and has not seen to that in this life of its agent. A wish that is gone is forgotten."""
        metadata = body["metadata"]
        wish = (metadata.get("annotations") or {}).get(names.ANNOTATION_STAGE, "")
        if metadata.get("deletionTimestamp") or not wants(wish, self._node):
            self._seen.pop(metadata["uid"], None)
            if self._store.cache is not None:
                self._store.cache.unpin(metadata["uid"])
            return False
        artifact = (body.get("status") or {}).get("artifact") or {}
        if not artifact.get("generation") or not read_checkpoint(body).ready:
            return False
        return bool(self._seen.get(metadata["uid"]) != artifact["generation"])

    async def handle(self, body: Mapping[str, Any]) -> None:
        """Stages it and says how that ended."""
        checkpoint = read_checkpoint(body)
        metadata, artifact = checkpoint.metadata, checkpoint.status.artifact
        if artifact is None:
            return
        self._seen[metadata.uid] = artifact.generation
        cache = self._store.cache
        if cache is None:
            if self._node not in parse(metadata.annotations.get(names.ANNOTATION_STAGE, "")):
                return  # All were asked: those that have no cache need not say so.
            await self._report(metadata.namespace, metadata.name, metadata.uid, {"message": "the node has no cache"})
            return
        operations = self._instruments.operations
        async with self._turn:
            if self._seen.get(metadata.uid) != artifact.generation:
                return  # It is not asked for any more, or another one is.
            with operations.running(KIND, metadata.namespace, metadata.name, "") as operation:

                def progress(done: int, total: int) -> None:
                    operation.report(KIND, done, total)

                stage_it = (checkpoint.hash, artifact.generation, artifact.digest)
                try:
                    held, total, message = *await asyncio.to_thread(self._stage, cache, metadata.uid, *stage_it, progress), ""
                except (AgentError, OSError) as error:
                    held, total, message = 0, 0, str(error)
                    LOG.warning("checkpoint %s/%s was not staged: %s", metadata.namespace, metadata.name, error)
        if held < total:
            message = "the cache has no room for all of it"
        LOG.info("checkpoint %s/%s: %d of %d bytes are in the cache", metadata.namespace, metadata.name, held, total)
        copy = {"bytes": held, "total": total, "generation": artifact.generation}
        await self._report(metadata.namespace, metadata.name, metadata.uid, copy | ({"message": message} if message else {}))

    def _stage(
        self, cache: PieceCache, uid: str, identity_hash: str, generation: str, digest: str, progress: Progress
    ) -> tuple[int, int]:
        with self._store.open(identity_hash, generation, digest) as artifact:
            cache.pin(uid, artifact.packs)
            return stage(artifact, cache, progress)

    async def _report(self, namespace: str, name: str, uid: str, copy: Mapping[str, Any]) -> None:
        """Puts this node's entry among the others; those of many nodes may end at once."""
        own = {"node": self._node, "at": timestamp(datetime.now(UTC)), **copy}
        for attempt in range(REPORTS):
            try:
                body = await self._cluster.get(CHECKPOINTS, name, namespace)
                if body["metadata"]["uid"] != uid:
                    return
                others = [each for each in (body.get("status") or {}).get("caches") or [] if each["node"] != self._node]
                metadata = {"resourceVersion": body["metadata"]["resourceVersion"], "uid": uid}
                patch = {"metadata": metadata, "status": {"caches": [*others, own]}}
                await self._cluster.patch(CHECKPOINTS, name, patch, namespace, subresource="status")
            except ConflictError:
                await asyncio.sleep(random.uniform(0, 0.1 * (attempt + 1)))  # noqa: S311 - nobody gains by guessing it
            except NotFoundError:
                return
            except ChrekError as error:
                LOG.warning("checkpoint %s/%s was not told of its copy here: %s", namespace, name, error)
                return
            else:
                return


def stage(artifact: Artifact, cache: PieceCache, progress: Progress) -> tuple[int, int]:
    """Reads what the cache lacks of an artifact that is open by way of it; returns bytes that are there now, and in all.

    Raises:
        StoreError: The store does not answer.
    """
    contents: list[Blob | Run] = [*artifact.manifest.files.values(), *artifact.manifest.memory]
    chunks = {chunk.digest: chunk for content in contents for chunk in artifact.chunks(content)}
    ordered = sorted(chunks.values(), key=lambda chunk: (chunk.place.pack, chunk.place.offset))
    total = sum(chunk.record.room for chunk in ordered)
    done = 0

    def read(chunk: Chunk) -> int:
        with suppress(ArtifactError):  # A restore will meet it, and say so.
            if not _holds(cache, chunk):
                artifact.fetch(chunk)
        return chunk.record.room

    progress(0, total)
    artifact.expect(ordered)
    with ThreadPoolExecutor(REMOTE_THREADS) as pool:
        for size in pool.map(read, ordered):
            done += size
            progress(done, total)
    return sum(chunk.record.room for chunk in ordered if _holds(cache, chunk)), total


def _holds(cache: PieceCache, chunk: Chunk) -> bool:
    return cache.holds(pack_key(chunk.place.pack), chunk.place.offset, chunk.place.stored)
