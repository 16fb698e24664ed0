"""The agent's loop: watches its node's pods and all checkpoints, and starts one task for each thing to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from chrek_agent.capture import Capture
from chrek_agent.config import AgentConfig
from chrek_agent.container import running_id
from chrek_agent.criu.runner import Criu
from chrek_agent.deletion import delete_artifact, is_due
from chrek_agent.report import Reporter
from chrek_agent.restore import Restore
from chrek_agent.sources import Sources, is_ready
from chrek_agent.store.directory import DirectoryStore
from chrek_agent.targets import Targets
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS

LOG: Final = logging.getLogger(__name__)
RETRY_SECONDS: Final = 2.0

Body = Mapping[str, Any]
Handler = Callable[[Body], Coroutine[None, None, None]]


class Agent:
    """One node's agent."""

    def __init__(self, config: AgentConfig, cluster: Cluster) -> None:
        criu = Criu(config.criu_root)
        reporter = Reporter(cluster, config.node)
        self._config = config
        self._cluster = cluster
        self._store = DirectoryStore(config.base_path)
        self._sources = Sources(config, cluster, Capture(config, criu, self._store), self._store, reporter)
        self._targets = Targets(config, cluster, Restore(config, criu, self._store), reporter)

    async def run(self) -> None:
        """Runs until it is cancelled; what is under way is then undone."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods(f"{names.LABEL_SOURCE}=true", is_ready, self._sources.handle))
            group.create_task(self._pods(f"{names.LABEL_RESTORE}=true", lambda _: True, self._targets.handle))
            group.create_task(self._deletions())

    async def _pods(self, labels: str, wanted: Callable[[Body], bool], handle: Handler) -> None:
        """Handles each worker container once, as soon as it runs and its pod is wanted."""
        seen: dict[str, str] = {}
        fields = f"spec.nodeName={self._config.node}"
        async with _tasks() as start:
            async for kind, pod in self._watch(PODS, labels=labels, fields=fields):
                uid = pod["metadata"]["uid"]
                if kind == "DELETED":
                    seen.pop(uid, None)
                    continue
                identifier = running_id(pod)
                if identifier and wanted(pod) and seen.get(uid) != identifier:
                    seen[uid] = identifier
                    start(handle(pod))

    async def _deletions(self) -> None:
        async with _tasks() as start:
            async for kind, body in self._watch(CHECKPOINTS):
                if kind != "DELETED" and is_due(body):
                    start(delete_artifact(self._cluster, self._store, body))

    async def _watch(self, resource: Resource, *, labels: str = "", fields: str = "") -> AsyncIterator[tuple[str, Body]]:
        """Changes for ever: an API server that is away is waited for."""
        while True:
            try:
                async for event in self._cluster.watch(resource, self._config.namespace, labels=labels, fields=fields):
                    if event.type != "SYNCED":
                        yield event.type, event.object
            except ChrekError as error:
                LOG.warning("watch of %s: %s; trying again", resource.plural, error)
                await asyncio.sleep(RETRY_SECONDS)


@asynccontextmanager
async def _tasks() -> AsyncIterator[Callable[[Coroutine[None, None, None]], None]]:
    """Runs coroutines beside each other; one that fails is logged and harms no other; all are cancelled at the end."""
    running: set[asyncio.Task[None]] = set()

    async def guarded(work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception:
            LOG.exception("unexpected failure")

    def start(work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(guarded(work))
        running.add(task)
        task.add_done_callback(running.discard)

    try:
        yield start
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
