"""Pods that wait to be restored: each is restored, or told to start cold and why."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from chrek_agent.capture import seconds_since_start
from chrek_agent.config import AgentConfig
from chrek_agent.container import acceptance, control, processes
from chrek_agent.container.discovery import Container, find_container
from chrek_agent.errors import AgentError, ArtifactError, DeadlineError, IncompatibleError, RestoreError, StoreError
from chrek_agent.node.gate import Gate
from chrek_agent.restore import Restore, Restored, marker_file, wait_for_shim
from chrek_agent.tasks.attempts import Attempts
from chrek_agent.tasks.report import Reporter
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.logs import FIELDS, prune
from chrek_agent.telemetry.operations import Operation
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Artifact, Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ClusterError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS

LOG: Final = logging.getLogger(__name__)
SHIM_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.2


class Targets:
    """Restores the worker pods of one node."""

    def __init__(
        self, config: AgentConfig, cluster: Cluster, restore: Restore, reporter: Reporter, gate: Gate, instruments: Instruments
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._restore = restore
        self._reporter = reporter
        self._gate = gate
        self._instruments = instruments
        self._attempts = Attempts(config.attempts, seconds=config.retry_seconds)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def handle(self, pod: Mapping[str, Any]) -> None:
        """Restores a pod whose worker container has just started, or sends it cold.

        A container that follows one whose worker died waits until that death is noted: it must not be restored to die again.
        """
        turn = self._turns.setdefault(pod["metadata"]["uid"], asyncio.Lock())
        async with turn:
            await self._handle(pod)

    async def _handle(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        name = (metadata.get("labels") or {}).get(names.LABEL_NAME, "")
        try:
            container = find_container(pod, self._config.cgroup_root)
            await wait_for_shim(container, seconds=SHIM_SECONDS)
            if control.read(container, control.OUTCOME) is not None:
                return  # An earlier life of this agent has dealt with it.
        except (AgentError, OSError) as error:
            LOG.warning("pod %s/%s cannot be restored: %s", metadata["namespace"], metadata["name"], error)
            return
        try:
            with self._instruments.operations.running("restore", metadata["namespace"], name, metadata["name"]) as operation:
                checkpoint, artifact = await self._checkpoint(metadata["namespace"], name)
                restored = await self._attempt(pod, checkpoint, artifact, container, operation)
        except (ChrekError, OSError) as error:
            prune(self._config.work)
            await self._cold(pod, name, container, str(error), cause_of(error))
            return
        await self._restored(pod, name, artifact, restored)
        await self._watch_over(pod, name, artifact, container, restored)

    async def _checkpoint(self, namespace: str, name: str) -> tuple[Checkpoint, Artifact]:
        """The checkpoint, Ready, and its artifact. Raises ChrekError with the reason for a cold start."""
        try:
            checkpoint = read_checkpoint(await self._cluster.get(CHECKPOINTS, name, namespace))
        except NotFoundError as error:
            raise RestoreError(f"checkpoint {name} does not exist", cause=names.Cause.NOT_FOUND) from error
        artifact = checkpoint.status.artifact
        if not checkpoint.ready or artifact is None:
            detail = f": {checkpoint.status.message}" if checkpoint.status.message else ""
            raise RestoreError(f"checkpoint {name} is {checkpoint.phase}{detail}", cause=names.Cause.NOT_READY)
        before = self._attempts.failed(artifact.generation)
        if before:
            raise RestoreError(f"it failed on this node before: {before}", cause=names.Cause.TRIED_BEFORE)
        return checkpoint, artifact

    async def _attempt(
        self, pod: Mapping[str, Any], checkpoint: Checkpoint, artifact: Artifact, container: Container, operation: Operation
    ) -> Restored:
        metadata, seconds = checkpoint.metadata, self._config.attempt_seconds
        marker = marker_file(pod, container.name)
        try:
            async with asyncio.timeout(seconds):
                operation.report("compatibility")
                await self._gate.check(await self._restore.record(checkpoint.hash, artifact), container, pod)
                operation.report("restore", 0, artifact.bytes)
                where, check = metadata.namespace, acceptance.is_on(pod)
                return await self._restore.run(
                    metadata.name, checkpoint.hash, artifact, container, marker, namespace=where, check=check
                )
        except ArtifactError as error:
            await self._reporter.lost(metadata.namespace, metadata.name, artifact.generation, str(error))
            raise
        except (IncompatibleError, StoreError):
            raise  # Another pod may be compatible, and the store may answer again.
        except AgentError as error:
            if container.running():
                self._attempts.note(artifact.generation, str(error))
            raise
        except TimeoutError as error:
            self._attempts.note(artifact.generation, f"it did not finish in {seconds:g} s")
            raise DeadlineError(f"the restore did not finish in {seconds:g} s") from error

    async def _cold(self, pod: Mapping[str, Any], name: str, container: Container, reason: str, cause: str) -> None:
        """The shim is told before anybody else: the worker's start must not wait for reports."""
        try:
            control.decide(container, {"result": "cold", "reason": reason})
        except (AgentError, OSError) as error:
            LOG.warning("pod %s could not be told to start cold: %s", pod["metadata"]["name"], error)
        self._instruments.metrics.cold(cause)
        fields = {"operation": "restore", "result": "cold", "cause": cause, "checkpoint": name}
        LOG.warning(
            "pod %s/%s starts cold: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], reason, extra={FIELDS: fields}
        )
        outcome = {"result": "cold", "reason": reason, "cause": cause, "seconds": round(seconds_since_start(container), 3)}
        message = f"{names.FALLBACK}: {reason}"
        await self._report(pod, name, outcome, names.Reason.COLD_START, message, warning=True)

    async def _restored(self, pod: Mapping[str, Any], name: str, artifact: Artifact, restored: Restored) -> None:
        metadata, phases = pod["metadata"], restored.phases
        self._instruments.metrics.operation("restore", restored.seconds, artifact.bytes, phases, restored.moved)
        self._instruments.ceilings.phases(phases, restored.moved)
        fields = {"operation": "restore", "result": "restored", "seconds": restored.seconds, "phases": phases}
        fields |= {"checkpoint": name, "bytes": artifact.bytes}
        text = "pod %s/%s restored from %s in %.2f s"
        LOG.info(text, metadata["namespace"], metadata["name"], name, restored.seconds, extra={FIELDS: fields})
        outcome = {"result": "restored", "reason": "", "seconds": restored.seconds, "phases": phases, "phaseBytes": restored.moved}
        message = f"restored from checkpoint {name} in {restored.seconds:.2f} s"
        await self._report(pod, name, outcome, names.Reason.RESTORE_SUCCEEDED, message, warning=False)

    async def _watch_over(
        self, pod: Mapping[str, Any], name: str, artifact: Artifact, container: Container, restored: Restored
    ) -> None:
        """A worker that ends in its first seconds, and is not meant to, was not restored after all."""
        seconds = await lived(container, restored.pid, self._config.early_seconds)
        if seconds is None or await self._leaving(pod):
            return
        reason = f"the restored worker ended after {seconds:.1f} s"
        self._attempts.note(artifact.generation, reason)
        self._instruments.metrics.died()
        metadata = pod["metadata"]
        LOG.warning("pod %s/%s: %s", metadata["namespace"], metadata["name"], reason)
        await asyncio.gather(
            self._reporter.death(metadata["namespace"], name, pod, reason, round(seconds, 3)),
            self._reporter.event(PODS, pod, names.Reason.RESTORE_FAILED, reason, warning=True),
        )

    async def _leaving(self, pod: Mapping[str, Any]) -> bool:
        """The pod is gone or on its way."""
        metadata = pod["metadata"]
        try:
            now = await self._cluster.get(PODS, metadata["name"], metadata["namespace"])
        except NotFoundError:
            return True
        except ChrekError:
            return False
        return now["metadata"].get("uid") != metadata["uid"] or bool(now["metadata"].get("deletionTimestamp"))

    async def _report(
        self, pod: Mapping[str, Any], name: str, outcome: Mapping[str, Any], reason: str, message: str, *, warning: bool
    ) -> None:
        await asyncio.gather(
            self._reporter.outcome(pod["metadata"]["namespace"], name, pod, outcome),
            self._reporter.event(PODS, pod, reason, message, warning=warning),
        )


def cause_of(error: Exception) -> str:
    """One of names.Cause."""
    if isinstance(error, AgentError):
        return error.cause
    return names.Cause.UNREACHABLE if isinstance(error, ClusterError) else names.Cause.RESTORE_FAILED


async def lived(container: Container, inner: int, seconds: float) -> float | None:
    """How long a worker, by its PID in the container, lived; None when it outlives `seconds`."""
    begin = time.monotonic()
    worker = next((process for process in processes.namespace_members(container.init) if process.inner == inner), None)
    while worker is not None and processes.is_same(worker.pid, worker.start):
        if time.monotonic() - begin >= seconds:
            return None
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - begin
