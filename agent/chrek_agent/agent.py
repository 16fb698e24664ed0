"""The agent's loop: watches its node's pods and all checkpoints, and starts one task for each thing to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.capture import Capture
from chrek_agent.config import AgentConfig
from chrek_agent.container.discovery import running_id
from chrek_agent.criu.runner import Criu
from chrek_agent.node.ceilings import Ceilings
from chrek_agent.node.gate import Gate
from chrek_agent.node.writer import NodeWriter
from chrek_agent.restore import Restore
from chrek_agent.store.cached import PieceCache
from chrek_agent.store.where import open_store
from chrek_agent.tasks import adoption, upkeep
from chrek_agent.tasks.deletion import delete_artifact, is_due
from chrek_agent.tasks.mending import Mender
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.sources import Sources, is_ready
from chrek_agent.tasks.staging import Stager
from chrek_agent.tasks.targets import Targets
from chrek_agent.tasks.verification import Verifier
from chrek_agent.telemetry.health import serve
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
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
        self._store = store = open_store(config.location, config.staging, _cache(config))
        LOG.info("what is captured here is %s", store.protection)
        self._instruments = instruments = Instruments(Operations(), Metrics(config.node), Ceilings(config.state))
        self._sources = Sources(config, cluster, Capture(config, criu, store), store, reporter, instruments)
        self._targets = Targets(config, cluster, Restore(config, criu, store), reporter, Gate(criu), instruments)
        mender = Mender(store, config.repair_from, config.staging)
        self._verifier = Verifier(
            cluster, store, reporter, instruments.metrics, config.node, mender=mender, ceilings=instruments.ceilings
        )
        self._stager = Stager(cluster, store, instruments, config.node)
        self._node = NodeWriter(config, cluster, criu, store, instruments, cache=store.cache)
        self._adopter = adoption.Adopter(cluster, store, reporter, self._node.stale)
        self._unseen = {"source pods", "target pods", "checkpoints"}

    async def run(self) -> None:
        """Runs until it is cancelled; what is under way is then undone. Raises UsageError: it cannot listen where it should."""
        async with AsyncExitStack() as stack:
            if self._config.listen:
                await stack.enter_async_context(serve(self._config.listen, self._instruments.metrics, self._unready))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            group.create_task(self._pods("source pods", f"{names.LABEL_SOURCE}=true", is_ready, self._capture))
            group.create_task(self._pods("target pods", f"{names.LABEL_RESTORE}=true", lambda _: True, self._targets.handle))
            group.create_task(self._checkpoints())
            group.create_task(self._node.run())
            group.create_task(upkeep.run(self._store, self._config.upkeep_seconds, self._node.stale))

    def _unready(self) -> str:
        """Why we cannot serve; empty when we can."""
        unseen = ", ".join(sorted(self._unseen))
        return f"the API server has not told of {unseen}" if unseen else self._node.trouble

    async def _pods(self, what: str, labels: str, wanted: Callable[[Body], bool], handle: Handler) -> None:
        """Handles each worker container once, as soon as it runs and its pod is wanted."""
        seen: dict[str, str] = {}
        fields = f"spec.nodeName={self._config.node}"
        async with _tasks() as start:
            async for kind, pod in self._watch(what, PODS, labels=labels, fields=fields):
                uid = pod["metadata"]["uid"]
                if kind == "DELETED":
                    seen.pop(uid, None)
                    continue
                identifier = running_id(pod)
                if identifier and wanted(pod) and seen.get(uid) != identifier:
                    seen[uid] = identifier
                    start(handle(pod))

    async def _capture(self, pod: Body) -> None:
        """Captures a pod; the store's sizes are looked at again whatever has become of it."""
        try:
            await self._sources.handle(pod)
        finally:
            self._node.stale()

    async def _checkpoints(self) -> None:
        """Deletes, verifies, adopts and stages artifacts, as the checkpoints ask for it."""
        async with _tasks() as start:
            async for kind, body in self._watch("checkpoints", CHECKPOINTS):
                if kind == "DELETED":
                    self._node.stale()
                    continue
                if self._stager.is_asked(body):
                    start(self._stager.handle(body))
                if is_due(body):
                    start(delete_artifact(self._cluster, self._store, body))
                elif self._verifier.is_asked(body):
                    metadata = body["metadata"]
                    start(self._verifier.handle(metadata["uid"], metadata["name"], metadata["namespace"]))
                elif adoption.is_asked(body, datetime.now(UTC)):
                    start(self._adopter.handle(body))

    async def _watch(self, what: str, resource: Resource, *, labels: str = "", fields: str = "") -> AsyncIterator[tuple[str, Body]]:
        """Changes for ever: an API server that is away is waited for."""
        while True:
            try:
                async for event in self._cluster.watch(resource, self._config.namespace, labels=labels, fields=fields):
                    if event.type == "SYNCED":
                        self._unseen.discard(what)
                        self._instruments.metrics.watching(what, connected=True)
                    else:
                        yield event.type, event.object
            except ChrekError as error:
                self._unseen.add(what)
                self._instruments.metrics.watching(what, connected=False)
                LOG.warning("watch of %s: %s; trying again", what, error)
                await asyncio.sleep(RETRY_SECONDS)


def _cache(config: AgentConfig) -> PieceCache | None:
    return PieceCache(config.cache, config.cache_bytes) if config.cache is not None and config.cache_bytes else None


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
