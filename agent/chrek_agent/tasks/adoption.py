"""Artifacts that were made elsewhere: a checkpoint names one by annotation; an agent whose store has it makes it the checkpoint's.

The agent verifies it, writes its manifest anew with the checkpoint as its owner (no chunk moves), and publishes that as if it had
captured it. A store that does not have the artifact is another agent's.

Whose artifact it is says its manifest: the checkpoint's namespace must own it, as it does what was imported for it, or the
checkpoint that owns it must be shared with that namespace.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chrek_agent.capture import Captured
from chrek_agent.container.inventory import FILE, Inventory, parse_inventory
from chrek_agent.errors import AgentError, ArtifactError, SignatureError
from chrek_agent.store.model import Manifest, Owner, digest_manifest, dump_manifest
from chrek_agent.store.ownership import is_offer, restate
from chrek_agent.store.store import Store, new_generation
from chrek_agent.tasks.report import Reporter
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import CapturedProcess, Checkpoint, read_checkpoint
from kubectl_chrek.api.compatibility import Compatibility
from kubectl_chrek.api.errors import ChrekError, NotFoundError
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


def is_shared(body: Mapping[str, Any], namespace: str) -> bool:
    """A checkpoint lets those of another namespace adopt its artifact."""
    listed = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_SHARE, "")
    return bool({namespace, "*"} & {word.strip() for word in listed.split(",")})


class Adopter:
    """Adopts artifacts for one node's agent; `adopted` is called after each."""

    def __init__(self, cluster: Cluster, store: Store, reporter: Reporter, adopted: Callable[[], None] = lambda: None) -> None:
        self._cluster = cluster
        self._store = store
        self._reporter = reporter
        self._adopted = adopted

    async def handle(self, body: Mapping[str, Any]) -> None:
        """Adopts what the checkpoint asks for, if it is in our store and no other agent is first."""
        checkpoint, wanted = read_checkpoint(body), read_wanted(body)
        metadata = checkpoint.metadata
        if wanted is None:
            return
        try:
            manifest = await asyncio.to_thread(self._look, checkpoint.hash, wanted)
            await self._begin(checkpoint, manifest.size)
        except SignatureError as error:  # No other agent thinks otherwise.
            await self._reporter.failure(metadata, str(error))
            return
        except (ChrekError, OSError) as error:
            LOG.debug("the artifact of %s/%s is left to another agent: %s", metadata.namespace, metadata.name, error)
            return
        begun = datetime.now(UTC)
        try:
            await self._check_allowed(metadata.namespace, wanted, manifest.owner)
            captured = await self._adopt(checkpoint, wanted, manifest)
            await self._reporter.artifact(metadata, captured, manifest.created_at)
        except (AgentError, OSError) as error:
            LOG.warning("artifact %s was not adopted by %s/%s: %s", wanted.generation, metadata.namespace, metadata.name, error)
            await self._reporter.failure(metadata, str(error))
            return
        seconds = (datetime.now(UTC) - begun).total_seconds()
        LOG.info("checkpoint %s/%s adopted artifact %s in %.1f s", metadata.namespace, metadata.name, wanted.generation, seconds)
        if wanted.move and is_offer(manifest.owner):
            await asyncio.to_thread(self._store.delete, checkpoint.hash, {wanted.generation})
        self._adopted()
        patch = {"metadata": {"uid": metadata.uid, "annotations": {names.ANNOTATION_ADOPT: None}}}
        await self._cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace)

    def _look(self, identity_hash: str, wanted: Wanted) -> Manifest:
        with self._store.open(identity_hash, wanted.generation, wanted.digest) as artifact:
            return artifact.manifest

    async def _check_allowed(self, namespace: str, wanted: Wanted, owner: Owner) -> None:
        """Raises AgentError: the artifact is another namespace's, which does not share it with this one."""
        if owner.namespace == namespace or (not is_offer(owner) and await self._shares(owner, namespace)):
            return
        told = f"unless its checkpoint has annotation {names.ANNOTATION_SHARE}: {namespace}"
        raise AgentError(f"artifact {wanted.generation} belongs to another namespace, and is not for {namespace} {told}")

    async def _shares(self, owner: Owner, namespace: str) -> bool:
        """The artifact's checkpoint is there, and is shared with a namespace. Raises AgentError: nobody can say."""
        try:
            body = await self._cluster.get(CHECKPOINTS, owner.name, owner.namespace)
        except NotFoundError:
            return False
        except ChrekError as error:
            raise AgentError(f"whether the artifact is shared with {namespace} cannot be looked up: {error}") from error
        return body["metadata"]["uid"] == owner.uid and is_shared(body, namespace)

    async def _adopt(self, checkpoint: Checkpoint, wanted: Wanted, manifest: Manifest) -> Captured:
        done = 0, manifest.size

        def progress(now: int, total: int) -> None:
            nonlocal done
            done = now, total

        async def tell() -> None:
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                await self._reporter.progress(checkpoint.metadata, _progress(*done))

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
            content = artifact.content(FILE)
            if content is not None:
                return parse_inventory(content)
        return Inventory()

    def _own(self, checkpoint: Checkpoint, manifest: Manifest) -> tuple[Manifest, str]:
        """The same artifact as the checkpoint's own: a manifest beside the other, naming the same chunks."""
        metadata = checkpoint.metadata
        before = [found for found in self._store.find(checkpoint.hash, metadata.uid) if found.memory == manifest.memory]
        owned = next((found for found in before if found.files == manifest.files), None)
        if owned is None:
            owner = Owner(namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)
            owned, _ = restate(self._store, manifest, new_generation(datetime.now(UTC)), owner)
        digest = digest_manifest(dump_manifest(owned))
        try:
            self._store.open(checkpoint.hash, owned.generation, digest).close()
        except ArtifactError:
            self._store.delete(checkpoint.hash, {owned.generation})
            raise
        return owned, digest

    async def _begin(self, checkpoint: Checkpoint, total: int) -> None:
        """Of several agents one is first. Raises ChrekError: another one was."""
        metadata = checkpoint.metadata
        patch = {"metadata": {"resourceVersion": metadata.resource_version}, "status": {"progress": _progress(0, total)}}
        await self._cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, subresource="status")


def _progress(done: int, total: int) -> dict[str, Any]:
    return {"step": STEP, "bytesDone": done, "bytesTotal": total, "updatedAt": timestamp(datetime.now(UTC))}


def _processes(inventory: Inventory) -> list[CapturedProcess]:
    found = []
    for process in inventory.processes:
        held = sum(size for kind, size in process.resident.items() if kind in ("anonymous", "shared"))
        found.append(CapturedProcess(pid=process.pid, name=process.name, threads=process.threads, bytes=held))
    return found
