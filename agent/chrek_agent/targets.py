"""Pods that wait to be restored: each is restored, or told to start cold and why."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from chrek_agent import control
from chrek_agent.capture import seconds_since_start
from chrek_agent.config import AgentConfig
from chrek_agent.container import Container, find_container
from chrek_agent.errors import AgentError, ArtifactError, RestoreError
from chrek_agent.report import Reporter
from chrek_agent.restore import Restore, Restored, marker_file, wait_for_shim
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS

LOG: Final = logging.getLogger(__name__)
SHIM_SECONDS: Final = 20.0


class Targets:
    """Restores the worker pods of one node."""

    def __init__(self, config: AgentConfig, cluster: Cluster, restore: Restore, reporter: Reporter) -> None:
        self._config = config
        self._cluster = cluster
        self._restore = restore
        self._reporter = reporter
        self._bad: dict[str, str] = {}
        """Generations that failed on this node, with the reason: none is tried twice."""

    async def handle(self, pod: Mapping[str, Any]) -> None:
        """Restores a pod whose worker container has just started, or sends it cold."""
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
            checkpoint = await self._checkpoint(metadata["namespace"], name)
            restored = await self._attempt(pod, checkpoint, container)
        except (ChrekError, OSError) as error:
            await self._cold(pod, name, container, str(error))
            return
        await self._restored(pod, name, restored)

    async def _checkpoint(self, namespace: str, name: str) -> Checkpoint:
        """The checkpoint, Ready. Raises ChrekError with the reason for a cold start."""
        try:
            checkpoint = read_checkpoint(await self._cluster.get(CHECKPOINTS, name, namespace))
        except NotFoundError as error:
            raise RestoreError(f"checkpoint {name} does not exist") from error
        if not checkpoint.ready:
            detail = f": {checkpoint.status.message}" if checkpoint.status.message else ""
            raise RestoreError(f"checkpoint {name} is {checkpoint.phase}{detail}")
        return checkpoint

    async def _attempt(self, pod: Mapping[str, Any], checkpoint: Checkpoint, container: Container) -> Restored:
        artifact = checkpoint.status.artifact
        if artifact is None:
            raise RestoreError(f"checkpoint {checkpoint.metadata.name} has no artifact")
        if artifact.generation in self._bad:
            raise RestoreError(f"it failed on this node before: {self._bad[artifact.generation]}")
        marker = marker_file(pod, container.name)
        try:
            return await self._restore.run(checkpoint.metadata.name, checkpoint.hash, artifact, container, marker)
        except ArtifactError as error:
            metadata = checkpoint.metadata
            await self._reporter.lost(metadata.namespace, metadata.name, artifact.generation, str(error))
            raise
        except AgentError as error:
            if container.running():
                self._bad[artifact.generation] = str(error)
            raise

    async def _cold(self, pod: Mapping[str, Any], name: str, container: Container, reason: str) -> None:
        """The shim is told before anybody else: the worker's start must not wait for reports."""
        try:
            control.decide(container, {"result": "cold", "reason": reason})
        except (AgentError, OSError) as error:
            LOG.warning("pod %s could not be told to start cold: %s", pod["metadata"]["name"], error)
        LOG.warning("pod %s/%s starts cold: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], reason)
        outcome = {"result": "cold", "reason": reason, "seconds": round(seconds_since_start(container), 3)}
        message = f"{names.FALLBACK}: {reason}"
        await self._report(pod, name, outcome, names.Reason.COLD_START, message, warning=True)

    async def _restored(self, pod: Mapping[str, Any], name: str, restored: Restored) -> None:
        LOG.info(
            "pod %s/%s restored from %s in %.2f s", pod["metadata"]["namespace"], pod["metadata"]["name"], name, restored.seconds
        )
        outcome = {"result": "restored", "reason": "", "seconds": restored.seconds, "phases": restored.phases}
        message = f"restored from checkpoint {name} in {restored.seconds:.2f} s"
        await self._report(pod, name, outcome, names.Reason.RESTORE_SUCCEEDED, message, warning=False)

    async def _report(
        self, pod: Mapping[str, Any], name: str, outcome: Mapping[str, Any], reason: str, message: str, *, warning: bool
    ) -> None:
        await asyncio.gather(
            self._reporter.outcome(pod["metadata"]["namespace"], name, pod, outcome),
            self._reporter.event(PODS, pod, reason, message, warning=warning),
        )
