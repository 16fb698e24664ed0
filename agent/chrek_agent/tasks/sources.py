"""Pods that are to be captured: from readiness to release."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.apart.preparing import prepared
from chrek_agent.capture import Capture, Captured, Report, seconds_since_start
from chrek_agent.config import AgentConfig
from chrek_agent.container import control
from chrek_agent.container.discovery import Container, find_container
from chrek_agent.container.thaw import thaw
from chrek_agent.errors import AgentError
from chrek_agent.journal import Record, record
from chrek_agent.store.store import Store
from chrek_agent.store.where import plain
from chrek_agent.tasks.lease import hold
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.wanted import while_wanted
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.logs import FIELDS, prune
from chrek_agent.telemetry.operations import Operation
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, Metadata, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS

LOG: Final = logging.getLogger(__name__)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """The pod's readiness probe has passed, and it is not being deleted."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


class Sources:
    """Captures the source pods of one node."""

    def __init__(
        self,
        config: AgentConfig,
        cluster: Cluster,
        capture: Capture,
        store: Store,
        reporter: Reporter,
        instruments: Instruments,
    ) -> None:
        self._config = config
        self._store = store
        self._cluster = cluster
        self._capture = capture
        self._reporter = reporter
        self._instruments = instruments

    async def handle(self, pod: Mapping[str, Any]) -> None:
        """Captures a Ready source pod and lets it go."""
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], (metadata.get("labels") or {}).get(names.LABEL_NAME, "")
        try:
            checkpoint = read_checkpoint(await self._cluster.get(CHECKPOINTS, name, namespace))
            container = find_container(pod, self._config.cgroup_root)
        except ChrekError as error:
            LOG.warning("pod %s/%s cannot be captured: %s", namespace, metadata["name"], error)
            return
        if checkpoint.ready:
            # An earlier life of this agent has published the artifact and died before it could let the worker go.
            self._done(checkpoint, container, "", "")
            thaw(container.init)
            return
        cold_start = seconds_since_start(container)
        LOG.info("capturing pod %s/%s as checkpoint %s (%s)", namespace, metadata["name"], name, checkpoint.hash)
        listed = self._instruments.operations.running("capture", namespace, name, metadata["name"])
        try:
            async with hold(self._cluster, namespace, checkpoint.hash, f"{names.AGENT}-{self._config.node}"):
                with listed as operation:
                    await self._run(pod, checkpoint, container, cold_start, operation)
        except ChrekError as error:
            self._instruments.metrics.capture_failed()
            prune(self._config.work)
            LOG.warning("capture of pod %s/%s failed: %s", namespace, metadata["name"], error)
            await self._failed(pod, checkpoint, container, str(error))

    async def _run(
        self, pod: Mapping[str, Any], checkpoint: Checkpoint, container: Container, cold_start: float, operation: Operation
    ) -> None:
        metadata = checkpoint.metadata
        await self._reporter.event(PODS, pod, names.Reason.CAPTURE_STARTED, f"capturing as checkpoint {metadata.name}")
        progress = _Progress(self._reporter, metadata, operation)
        sender = asyncio.create_task(progress.send())
        with record(self._config.journal, "capture", container) as entry:
            try:
                work = self._capture_prepared(pod, checkpoint, container, entry, progress.report, cold_start)
                captured = await while_wanted(self._cluster, checkpoint, work)
            finally:
                sender.cancel()
                with suppress(asyncio.CancelledError):
                    await sender
            try:
                entry.step("publish")
                await self._publish(checkpoint, captured)
                entry.step("release")
                await self._release(pod, checkpoint, container, captured)
            except BaseException:
                thaw(container.init)  # Before the entry goes, which would have done it for us.
                raise

    async def _capture_prepared(
        self, pod: Mapping[str, Any], checkpoint: Checkpoint, container: Container, entry: Record, report: Report, cold_start: float
    ) -> Captured:
        """Captures the worker once it has been made small and still, with what it must answer after a restore."""
        report("quiesce", 0, 0)
        async with prepared(container, pod, checkpoint.identity.framework, self._store, entry) as (accepted, apart):
            return await self._capture.run(
                pod, checkpoint, container, entry, report, cold_start=cold_start, accepted=accepted, apart=apart
            )

    async def _publish(self, checkpoint: Checkpoint, captured: Captured) -> None:
        """Makes the artifact known and waits for Ready; one that cannot be published, or that another replaces, is deleted."""
        metadata, generation = checkpoint.metadata, captured.manifest.generation
        try:
            await self._reporter.artifact(metadata, captured)
        except ChrekError:
            await asyncio.to_thread(self._store.delete, checkpoint.hash, {generation})
            raise
        older = {found.generation for found in self._store.find(checkpoint.hash, metadata.uid)} - {generation}
        await asyncio.to_thread(self._store.delete, checkpoint.hash, older)
        await self._wait_ready(metadata.namespace, metadata.name, captured)

    async def _release(self, pod: Mapping[str, Any], checkpoint: Checkpoint, container: Container, captured: Captured) -> None:
        self._done(checkpoint, container, captured.manifest.generation, "")
        thaw(container.init)
        gib = captured.manifest.size / 2**30
        message = f"captured {gib:.2f} GiB in {captured.seconds:.1f} s as {captured.manifest.generation}"
        phases, size = captured.manifest.phases, captured.manifest.size
        self._instruments.metrics.operation("capture", captured.seconds, size, phases, captured.moved)
        fields = {"operation": "capture", "checkpoint": checkpoint.metadata.name, "seconds": captured.seconds}
        fields |= {"bytes": size, "phases": phases}
        LOG.info("checkpoint %s: %s", checkpoint.metadata.name, message, extra={FIELDS: fields})
        await self._reporter.event(PODS, pod, names.Reason.CAPTURE_SUCCEEDED, message)

    async def _wait_ready(self, namespace: str, name: str, captured: Captured) -> None:
        """Waits for the operator's Ready; without an operator the artifact is there all the same, and will be seen later."""
        deadline = time.monotonic() + self._config.ready_seconds
        while time.monotonic() < deadline:
            with suppress(NotFoundError):
                if read_checkpoint(await self._cluster.get(CHECKPOINTS, name, namespace)).ready:
                    return
            await asyncio.sleep(0.1)
        LOG.warning("checkpoint %s/%s has artifact %s but is not Ready yet", namespace, name, captured.manifest.generation)

    async def _failed(self, pod: Mapping[str, Any], checkpoint: Checkpoint, container: Container, reason: str) -> None:
        metadata = checkpoint.metadata
        await self._reporter.failure(metadata, reason)
        await self._reporter.event(PODS, pod, names.Reason.CAPTURE_FAILED, reason, warning=True)
        self._done(checkpoint, container, "", reason)
        thaw(container.init)

    def _done(self, checkpoint: Checkpoint, container: Container, generation: str, error: str) -> None:
        """Tells the worker that its capture has ended, in the form that Dynamo's workers read."""
        identity_hash = checkpoint.hash
        content = {
            "checkpoint_id": identity_hash,
            "checkpoint_path": f"{names.location(plain(self._config.location), identity_hash)}/{generation}".rstrip("/"),
            "timestamp": timestamp(datetime.now(UTC)),
            "success": not error,
            "error": error,
        }
        try:
            control.write(container, f"{identity_hash}.done", content)
        except (AgentError, OSError) as failure:
            LOG.warning("the worker could not be told of the capture's end: %s", failure)


class _Progress:
    """Holds the newest progress; sends it once a second, and only when it has changed."""

    def __init__(self, reporter: Reporter, of: Metadata, operation: Operation) -> None:
        self._reporter = reporter
        self._operation = operation
        self._of = of
        self._now: dict[str, Any] = {}
        self._begin = time.monotonic()

    def report(self, step: str, done: int, total: int) -> None:
        """See chrek_agent.capture.Report."""
        self._operation.report(step, done, total)
        rate = done / max(time.monotonic() - self._begin, 0.001)
        self._now = {"step": step, "bytesDone": done, "bytesTotal": total, "bytesPerSecond": round(rate)}

    async def send(self) -> None:
        """Runs until it is cancelled."""
        sent: dict[str, Any] = {}
        while True:
            if self._now and self._now != sent:
                sent = self._now
                await self._reporter.progress(self._of, sent | {"updatedAt": timestamp(datetime.now(UTC))})
            await asyncio.sleep(1)
