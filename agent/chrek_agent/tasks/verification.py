"""Artifacts that an agent is asked to read back, by annotation: one agent answers, in `status.verification`.

If it is to mend what it finds damaged, nodes whose caches may hold it are asked one after the other.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from chrek_agent.errors import ArtifactError, SignatureError, StoreError
from chrek_agent.node.ceilings import Ceilings
from chrek_agent.tasks.mending import Key, Mended
from chrek_agent.tasks.report import Reporter
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Artifact, Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.api.repairing import DAMAGED, Wish, read_wish
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

LOG: Final = logging.getLogger(__name__)
RUNNING: Final = "running"
OK: Final = "ok"
CORRUPT: Final = "corrupt"
FAILED: Final = "failed"
PROGRESS_SECONDS: Final = 2.0
AT_ONCE: Final = 2
"""Artifacts that an agent verifies at a time. The others wait without being claimed: another agent may have time for them."""
SILENT_SECONDS: Final = 60.0
"""An agent that has reported no progress for longer has died over it."""


class Verifies(Protocol):
    """The part of a store that is needed here."""

    def verify(
        self, identity_hash: str, generation: str, digest: str, progress: Callable[[int, int], None] | None = None
    ) -> object:
        """Reads the whole artifact back. Raises ArtifactError, or OSError when it cannot be read."""

    def signer(self, identity_hash: str, generation: str) -> str:
        """The fingerprint of the trusted key that it is signed with. Raises SignatureError if there is none."""
        ...


Mender = Callable[[Key, Sequence[str], Callable[[int, int], None]], Mended]
"""Mends an artifact from these other stores, or from all; as `mending.mend`, and UsageError for one that is none of ours."""


def is_asked(body: Mapping[str, Any], now: datetime, node: str = "", *, idle: bool = False) -> bool:
    """Somebody has asked for a verification that no agent has answered or is at, and it is this node's turn.

    Args:
        body: The checkpoint.
        now: The present.
        node: This node.
        idle: Its agent is not at it: what it has begun was begun before it was started anew.
    """
    nonce = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_VERIFY, "")
    if not nonce or body["metadata"].get("deletionTimestamp"):
        return False
    checkpoint = read_checkpoint(body)
    if not checkpoint.ready:
        return False
    found, wish = checkpoint.status.verification, read_wish(body["metadata"], nonce)
    turns = wish.nodes if wish else ()
    if found is None or found.nonce != nonce:
        return not turns or node == turns[0]
    if found.result == DAMAGED:
        return wish is not None and wish.follower(found.node) == node
    silent = found.at is None or now - found.at > timedelta(seconds=SILENT_SECONDS) or (idle and found.node == node)
    return found.result == RUNNING and silent and (not turns or node in turns)


class Verifier:
    """Verifies artifacts for one node's agent."""

    def __init__(
        self,
        cluster: Cluster,
        store: Verifies,
        reporter: Reporter,
        metrics: Metrics,
        node: str,
        *,
        mender: Mender | None = None,
        ceilings: Ceilings | None = None,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._reporter = reporter
        self._metrics = metrics
        self._node = node
        self._mender = mender
        self._ceilings = ceilings or Ceilings()
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting: set[str] = set()
        self._running: set[str] = set()

    def is_asked(self, body: Mapping[str, Any]) -> bool:
        """It is asked for, and does not wait for its turn already. One that waits and is not asked for any more need not."""
        uid = body["metadata"]["uid"]
        if not self._is_open(body):
            self._waiting.discard(uid)
            return False
        if uid in self._waiting:
            return False
        self._waiting.add(uid)
        return True

    async def handle(self, uid: str, name: str, namespace: str) -> None:
        """Answers when it is its turn, unless another agent is first. A corrupt artifact is withdrawn.

        It is read anew then: thousands may wait, and what they are may change meanwhile.
        """
        async with self._turn:
            if uid not in self._waiting:
                return
            self._waiting.discard(uid)
            try:
                body = await self._cluster.get(CHECKPOINTS, name, namespace)
            except ChrekError as error:
                LOG.info("checkpoint %s/%s, which is to be verified, cannot be read: %s", namespace, name, error)
                return
            if body["metadata"]["uid"] == uid and self._is_open(body):
                self._running.add(uid)
                try:
                    await self._answer(read_checkpoint(body))
                finally:
                    self._running.discard(uid)

    def _is_open(self, body: Mapping[str, Any]) -> bool:
        return is_asked(body, datetime.now(UTC), self._node, idle=body["metadata"]["uid"] not in self._running)

    async def _answer(self, checkpoint: Checkpoint) -> None:
        metadata, artifact = checkpoint.metadata, checkpoint.status.artifact
        if artifact is None:
            return
        nonce = metadata.annotations[names.ANNOTATION_VERIFY]
        answer, wish = _Answer(nonce, self._node), read_wish({"annotations": metadata.annotations}, nonce)
        first = {"metadata": {"resourceVersion": metadata.resource_version}, "status": {"verification": answer.now(RUNNING)}}
        try:
            await self._cluster.patch(CHECKPOINTS, metadata.name, first, metadata.namespace, subresource="status")
        except ChrekError as error:
            LOG.debug("verification of %s/%s is left to another agent: %s", metadata.namespace, metadata.name, error)
            return
        result, message = await self._verify(checkpoint, artifact, answer, wish)
        self._metrics.verified(result)
        LOG.info("artifact of checkpoint %s/%s: %s %s", metadata.namespace, metadata.name, result, message)
        await self._reporter.verification(metadata, answer.now(result, message))
        if result == CORRUPT:
            await self._reporter.lost(metadata.namespace, metadata.name, artifact.generation, message)

    async def _verify(self, checkpoint: Checkpoint, artifact: Artifact, answer: "_Answer", wish: Wish | None) -> tuple[str, str]:
        ticker = asyncio.create_task(self._progress(checkpoint, answer))
        key = checkpoint.hash, artifact.generation, artifact.digest
        try:
            if wish is None or self._mender is None:
                await asyncio.to_thread(self._store.verify, *key, answer.progress)
                self._ceilings.read(*answer.read)
            else:
                answer.mended = await asyncio.to_thread(self._mender, key, wish.sources, answer.progress)
            answer.signed_by, answer.unsigned = await asyncio.to_thread(self._signature, *key[:2])
        except ArtifactError as error:
            return DAMAGED if wish and wish.follower(self._node) else CORRUPT, str(error)
        except (StoreError, UsageError) as error:
            return FAILED, str(error)
        except OSError as error:
            return FAILED, f"the store cannot be read: {error.strerror or error}"
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
        return OK, ""

    def _signature(self, identity_hash: str, generation: str) -> tuple[str, str]:
        """Who has signed it, of those whom we trust, or why that is nobody. Raises StoreError."""
        try:
            return self._store.signer(identity_hash, generation), ""
        except SignatureError as error:
            return "", str(error)

    async def _progress(self, checkpoint: Checkpoint, answer: "_Answer") -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await self._reporter.verification(checkpoint.metadata, answer.now(RUNNING))


class _Answer:
    """`status.verification`, as it grows."""

    def __init__(self, nonce: str, node: str) -> None:
        self._nonce = nonce
        self._node = node
        self._begin = time.monotonic()
        self._read = (0, 0)
        self.mended = Mended()
        self.signed_by = self.unsigned = ""

    @property
    def read(self) -> tuple[int, float]:
        """Bytes, and the seconds that took."""
        return self._read[0], time.monotonic() - self._begin

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
            "repairedChunks": self.mended.chunks,
            "repairedBytes": self.mended.bytes,
            "signedBy": self.signed_by,
            "unsigned": self.unsigned,
            "seconds": round(time.monotonic() - self._begin, 3),
            "at": timestamp(datetime.now(UTC)),
        }
