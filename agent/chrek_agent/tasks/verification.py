"""Artifacts that an agent is asked to read back, by annotation: one agent answers, in `status.verification`."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from chrek_agent.errors import ArtifactError, StoreError
from chrek_agent.tasks.report import Reporter
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Artifact, Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

LOG: Final = logging.getLogger(__name__)
RUNNING: Final = "running"
OK: Final = "ok"
CORRUPT: Final = "corrupt"
FAILED: Final = "failed"
PROGRESS_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 60.0
"""An agent that has reported no progress for longer has died over it."""


class Verifies(Protocol):
    """The part of a store that is needed here."""

    def verify(
        self, identity_hash: str, generation: str, digest: str, progress: Callable[[int, int], None] | None = None
    ) -> object:
        """Reads the whole artifact back. Raises ArtifactError, or OSError when it cannot be read."""


def is_asked(body: Mapping[str, Any], now: datetime) -> bool:
    """Somebody has asked for a verification that no agent has answered or is at."""
    nonce = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_VERIFY, "")
    if not nonce or body["metadata"].get("deletionTimestamp"):
        return False
    checkpoint = read_checkpoint(body)
    if not checkpoint.ready:
        return False
    found = checkpoint.status.verification
    if found is None or found.nonce != nonce:
        return True
    return found.result == RUNNING and (found.at is None or now - found.at > timedelta(seconds=SILENT_SECONDS))


class Verifier:
    """Verifies artifacts for one node's agent."""

    def __init__(self, cluster: Cluster, store: Verifies, reporter: Reporter, metrics: Metrics, node: str) -> None:
        self._cluster = cluster
        self._store = store
        self._reporter = reporter
        self._metrics = metrics
        self._node = node

    async def handle(self, body: Mapping[str, Any]) -> None:
        """Answers, unless another agent is first. A corrupt artifact is withdrawn."""
        checkpoint = read_checkpoint(body)
        metadata, artifact = checkpoint.metadata, checkpoint.status.artifact
        if artifact is None:
            return
        answer = _Answer(metadata.annotations[names.ANNOTATION_VERIFY], self._node)
        first = {"metadata": {"resourceVersion": metadata.resource_version}, "status": {"verification": answer.now(RUNNING)}}
        try:
            await self._cluster.patch(CHECKPOINTS, metadata.name, first, metadata.namespace, subresource="status")
        except ChrekError as error:
            LOG.debug("verification of %s/%s is left to another agent: %s", metadata.namespace, metadata.name, error)
            return
        result, message = await self._verify(checkpoint, artifact, answer)
        self._metrics.verified(result)
        LOG.info("artifact of checkpoint %s/%s: %s %s", metadata.namespace, metadata.name, result, message)
        await self._send(checkpoint, answer.now(result, message))
        if result == CORRUPT:
            await self._reporter.lost(metadata.namespace, metadata.name, artifact.generation, message)

    async def _verify(self, checkpoint: Checkpoint, artifact: Artifact, answer: "_Answer") -> tuple[str, str]:
        ticker = asyncio.create_task(self._progress(checkpoint, answer))
        try:
            await asyncio.to_thread(self._store.verify, checkpoint.hash, artifact.generation, artifact.digest, answer.progress)
        except ArtifactError as error:
            return CORRUPT, str(error)
        except StoreError as error:
            return FAILED, str(error)
        except OSError as error:
            return FAILED, f"the store cannot be read: {error.strerror or error}"
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
        return OK, ""

    async def _progress(self, checkpoint: Checkpoint, answer: "_Answer") -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await self._send(checkpoint, answer.now(RUNNING))

    async def _send(self, checkpoint: Checkpoint, verification: Mapping[str, Any]) -> None:
        metadata, patch = checkpoint.metadata, {"status": {"verification": verification}}
        try:
            await self._cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, subresource="status")
        except ChrekError as error:
            LOG.warning("verification of %s/%s could not be reported: %s", metadata.namespace, metadata.name, error)


class _Answer:
    """`status.verification`, as it grows."""

    def __init__(self, nonce: str, node: str) -> None:
        self._nonce = nonce
        self._node = node
        self._begin = time.monotonic()
        self._read = (0, 0)

    def progress(self, done: int, total: int) -> None:
        """Called from any thread."""
        self._read = (done, total)

    def now(self, result: str, message: str = "") -> dict[str, Any]:
        """The field at this moment."""
        return {
            "nonce": self._nonce,
            "node": self._node,
            "result": result,
            "message": message,
            "bytes": self._read[0],
            "bytesTotal": self._read[1],
            "seconds": round(time.monotonic() - self._begin, 3),
            "at": timestamp(datetime.now(UTC)),
        }
