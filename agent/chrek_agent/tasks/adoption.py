"""Artifacts that were made elsewhere: a checkpoint names one by annotation; an agent whose store has it makes it the checkpoint's.

The agent verifies it, writes its manifest anew with the checkpoint as its owner (no chunk moves), and publishes that as if it had
captured it. A store that does not have the artifact is another agent's.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chrek_agent.capture import Captured
from chrek_agent.container.inventory import FILE, Inventory, parse_inventory
from chrek_agent.errors import AgentError, ArtifactError
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.model import MANIFEST, Manifest, Owner, digest_manifest, dump_manifest
from chrek_agent.store.store import Store, new_generation
from chrek_agent.tasks.report import Reporter
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import CapturedProcess, Checkpoint, read_checkpoint
from kubectl_chrek.api.compatibility import Compatibility
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

LOG: Final = logging.getLogger(__name__)
STEP: Final = "adopt"
SILENT_SECONDS: Final = 60.0
"""An agent that has reported no progress for longer has died over it."""
PROGRESS_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The annotation's value."""

    generation: str
    digest: str
    move: bool


def read_wanted(body: Mapping[str, Any]) -> Wanted | None:
    """What a checkpoint asks to adopt; None if that is nothing, or nothing that can be understood."""
    text = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_ADOPT, "")
    try:
        found = json.loads(text)
        return Wanted(str(found["generation"]), str(found["digest"]), found.get("move") is True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_asked(body: Mapping[str, Any], now: datetime) -> bool:
    """It asks, has no artifact, and no agent is at it."""
    if body["metadata"].get("deletionTimestamp") or read_wanted(body) is None:
        return False
    status = read_checkpoint(body).status
    if status.artifact is not None or status.failure or status.created_at is not None:
        return False
    at = status.progress.updated_at if status.progress is not None and status.progress.step == STEP else None
    return at is None or now - at > timedelta(seconds=SILENT_SECONDS)


class Adopter:
    """Adopts artifacts for one node's agent."""

    def __init__(self, cluster: Cluster, store: Store, reporter: Reporter) -> None:
        self._cluster = cluster
        self._store = store
        self._reporter = reporter

    async def handle(self, body: Mapping[str, Any]) -> None:
        """Adopts what the checkpoint asks for, if it is in our store and no other agent is first."""
        checkpoint, wanted = read_checkpoint(body), read_wanted(body)
        metadata = checkpoint.metadata
        if wanted is None:
            return
        try:
            manifest = await asyncio.to_thread(self._look, checkpoint.hash, wanted)
            await self._progress(checkpoint, 0, manifest.size, first=True)
        except (ChrekError, OSError) as error:
            LOG.debug("the artifact of %s/%s is left to another agent: %s", metadata.namespace, metadata.name, error)
            return
        begun = datetime.now(UTC)
        try:
            captured = await self._adopt(checkpoint, wanted, manifest)
            await self._reporter.artifact(metadata.namespace, metadata.name, captured, manifest.created_at)
        except (AgentError, OSError) as error:
            LOG.warning("artifact %s was not adopted by %s/%s: %s", wanted.generation, metadata.namespace, metadata.name, error)
            await self._reporter.failure(metadata.namespace, metadata.name, str(error))
            return
        seconds = (datetime.now(UTC) - begun).total_seconds()
        LOG.info("checkpoint %s/%s adopted artifact %s in %.1f s", metadata.namespace, metadata.name, wanted.generation, seconds)
        if wanted.move:
            await asyncio.to_thread(self._store.delete, checkpoint.hash, {wanted.generation})
        patch = {"metadata": {"annotations": {names.ANNOTATION_ADOPT: None}}}
        await self._cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace)

    def _look(self, identity_hash: str, wanted: Wanted) -> Manifest:
        with self._store.open(identity_hash, wanted.generation, wanted.digest) as artifact:
            return artifact.manifest

    async def _adopt(self, checkpoint: Checkpoint, wanted: Wanted, manifest: Manifest) -> Captured:
        done = 0, manifest.size

        def progress(now: int, total: int) -> None:
            nonlocal done
            done = now, total

        async def tell() -> None:
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                with suppress(ChrekError):
                    await self._progress(checkpoint, *done)

        ticker = asyncio.create_task(tell())
        try:
            await asyncio.to_thread(self._store.verify, checkpoint.hash, wanted.generation, wanted.digest, progress)
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
        inventory = await asyncio.to_thread(self._inventory, checkpoint.hash, wanted)
        owned, digest = await asyncio.to_thread(self._own, checkpoint, manifest)
        record = Compatibility.model_validate(owned.compatibility)
        return Captured(owned, digest, 0.0, record, _processes(inventory), inventory)

    def _inventory(self, identity_hash: str, wanted: Wanted) -> Inventory:
        """As the capture recorded it; empty if it did not."""
        with self._store.open(identity_hash, wanted.generation, wanted.digest) as artifact, suppress(ArtifactError):
            if FILE in artifact.manifest.files:
                return parse_inventory(_content(artifact, FILE))
        return Inventory()

    def _own(self, checkpoint: Checkpoint, manifest: Manifest) -> tuple[Manifest, str]:
        """The same artifact as the checkpoint's own: a manifest beside the other, naming the same chunks."""
        metadata = checkpoint.metadata
        before = [found for found in self._store.find(checkpoint.hash, metadata.uid) if found.memory == manifest.memory]
        owned = next((found for found in before if found.files == manifest.files), None)
        if owned is None:
            generation = new_generation(datetime.now(UTC))
            owner = Owner(namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)
            owned = manifest.model_copy(update={"generation": generation, "owner": owner})
            key = f"{checkpoint.hash}/{generation}/{MANIFEST}"
            self._store.backend.put(key, dump_manifest(owned), if_absent=True)
        digest = digest_manifest(dump_manifest(owned))
        try:
            self._store.open(checkpoint.hash, owned.generation, digest).close()
        except ArtifactError:
            self._store.delete(checkpoint.hash, {owned.generation})
            raise
        return owned, digest

    async def _progress(self, checkpoint: Checkpoint, done: int, total: int, *, first: bool = False) -> None:
        progress = {"step": STEP, "bytesDone": done, "bytesTotal": total, "updatedAt": timestamp(datetime.now(UTC))}
        patch: dict[str, Any] = {"status": {"progress": progress}}
        if first:  # Of several agents one is first.
            patch["metadata"] = {"resourceVersion": checkpoint.metadata.resource_version}
        metadata = checkpoint.metadata
        await self._cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, subresource="status")


def _content(artifact: Artifact, path: str) -> bytes:
    """One file of an artifact, checked."""
    blob = artifact.manifest.files[path]
    content = bytearray(blob.size)
    for chunk in artifact.chunks(blob):
        dense = artifact.fetch(chunk)
        artifact.check(chunk, dense)
        for offset, piece in artifact.pieces(chunk, dense):
            start = chunk.offset + offset
            content[start : start + len(piece)] = piece
    return bytes(content)


def _processes(inventory: Inventory) -> list[CapturedProcess]:
    found = []
    for process in inventory.processes:
        held = sum(size for kind, size in process.resident.items() if kind in ("anonymous", "shared"))
        found.append(CapturedProcess(pid=process.pid, name=process.name, threads=process.threads, bytes=held))
    return found
