"""The node's ChrekNode: written at a heartbeat and whenever something changes, by this agent alone."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.config import AgentConfig
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import AgentError
from chrek_agent.node import facts
from chrek_agent.node.checks import node_checks
from chrek_agent.node.orphans import orphans
from chrek_agent.node.storage import Measured, cache_status, copies, measure, shares, store_status
from chrek_agent.store.cached import PieceCache
from chrek_agent.store.usage import Usage
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek import __version__
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.api.node import FAIL, HEARTBEAT_SECONDS, NodeCheck
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, NODES

LOG: Final = logging.getLogger(__name__)
SLOW_SECONDS: Final = 300.0
"""How often what costs something is looked at again: the node's facts, its checks, the store's sizes."""
BUSY_SECONDS: Final = 2.0
"""How often progress is written while an operation is under way."""

Body = Mapping[str, Any]


class NodeWriter:
    """Keeps the ChrekNode of one node."""

    def __init__(
        self,
        config: AgentConfig,
        cluster: Cluster,
        criu: Criu,
        store: Measured,
        instruments: Instruments,
        *,
        cache: PieceCache | None = None,
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._criu = criu
        self._store = store
        self._cache = cache
        self._operations = instruments.operations
        self._metrics = instruments.metrics
        self._ceilings = instruments.ceilings
        self._started = timestamp(datetime.now(UTC))
        self._slow: dict[str, Any] = {}
        self._due = 0.0
        """When what costs something is looked at again, on the monotonic clock."""

    @property
    def trouble(self) -> str:
        """The checks that fail, for /readyz; empty when none does."""
        if not self._slow:
            return "the node has not been checked yet"
        return "; ".join(f"{check['name']}: {check['message']}" for check in self._slow["checks"] if check["verdict"] == FAIL)

    def stale(self) -> None:
        """The store has changed: its sizes are looked at again."""
        self._due = 0.0
        self._operations.changed.set()

    async def run(self) -> None:
        """Writes until it is cancelled. An API server that refuses is logged and asked again at the next heartbeat."""
        while True:
            self._operations.changed.clear()
            await self._write()
            busy = bool(self._operations.status())
            with suppress(TimeoutError):
                # Not wait_for: it loses a cancellation that comes together with a change.
                async with asyncio.timeout(BUSY_SECONDS if busy else HEARTBEAT_SECONDS):
                    await self._operations.changed.wait()
            await asyncio.sleep(0.2)  # What changes together is written together.

    async def _write(self) -> None:
        try:
            now = time.monotonic()
            if not self._slow or now >= self._due:
                self._due = now + SLOW_SECONDS
                self._slow = await self._look()
            status = self._status()
            self._metrics.node(status)
            await publish(self._cluster, self._config.node, status)
        except (ChrekError, OSError) as error:
            LOG.warning("ChrekNode %s was not written: %s", self._config.node, error)
        except Exception:  # Nothing depends on it: the agent goes on.
            LOG.exception("ChrekNode %s was not written", self._config.node)

    async def _look(self) -> dict[str, Any]:
        try:
            criu = await self._criu.version()
        except AgentError:
            criu = ""
        if not self._slow:
            await asyncio.to_thread(self._ceilings.prepare)
        skew = await clock_skew(self._cluster.server_time)
        at = datetime.now(UTC)
        platform, checks, usage = await asyncio.gather(
            asyncio.to_thread(facts.of_node, criu),
            asyncio.to_thread(node_checks, self._config, criu, skew),
            asyncio.to_thread(measure, self._store),
        )
        store = await asyncio.to_thread(store_status, self._config.location, usage, at)
        if usage is not None:
            bodies = await self._cluster.list(CHECKPOINTS, self._config.namespace)
            await self._tell_checkpoints(bodies, usage)
            store |= {"orphans": orphans(bodies, usage, self._config.namespace)}
        looked = {"platform": _plain(platform), "checks": [_plain(check) for check in checks], "store": store}
        return looked if self._cache is None else looked | {"cache": cache_status(self._cache, usage)}

    async def _tell_checkpoints(self, bodies: Sequence[Body], usage: Usage) -> None:
        """Brings up to date what artifacts take of the store and who has copies; what changes meanwhile waits for the next time."""
        node = self._config.node
        found: list[tuple[Body, Body]] = [(body["metadata"], {"artifact": taken}) for body, taken in shares(bodies, usage, node)]
        found += [(body["metadata"], {"caches": held}) for body, held in copies(bodies, usage, node, datetime.now(UTC))]
        together: dict[str, tuple[Body, dict[str, Any]]] = {}
        for metadata, status in found:  # Two patches of one checkpoint would be in each other's way.
            together.setdefault(metadata["uid"], (metadata, {}))[1].update(status)
        for metadata, whole in together.values():
            patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": whole}
            with suppress(ConflictError, NotFoundError):
                await self._cluster.patch(CHECKPOINTS, metadata["name"], patch, metadata["namespace"], subresource="status")

    def _status(self) -> dict[str, Any]:
        agent = {
            "version": __version__,
            "pod": os.environ.get("POD_NAME", ""),
            "startedAt": self._started,
            "heartbeatAt": timestamp(datetime.now(UTC)),
        }
        return {"agent": agent, "operations": self._operations.status(), "ceilings": self._ceilings.status(), **self._slow}


def _plain(view: NodeCheck | Any) -> dict[str, Any]:
    fields: dict[str, Any] = view.model_dump(mode="json", by_alias=True)
    return fields


async def publish(cluster: Cluster, name: str, status: Body) -> None:
    """Writes the status of the ChrekNode, which is created if there is none.

    It belongs to its Node, so that the cluster removes it with the Node. Raises ChrekError; ConflictError: somebody else has
    changed it just now.
    """
    try:
        found = await cluster.get(CHREK_NODES, name, "")
    except NotFoundError:
        found = await cluster.create(CHREK_NODES, await _fresh(cluster, name), "")
    patch = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "status": status}
    await cluster.patch(CHREK_NODES, name, patch, "", subresource="status")


async def _fresh(cluster: Cluster, name: str) -> Body:
    metadata: dict[str, Any] = {"name": name}
    with suppress(ChrekError):  # An agent that may not read Nodes, or a machine that is none.
        node = await cluster.get(NODES, name, "")
        owner = {"apiVersion": NODES.api_version, "kind": NODES.kind, "name": name, "uid": node["metadata"]["uid"]}
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": CHREK_NODES.api_version, "kind": CHREK_NODES.kind, "metadata": metadata}


async def clock_skew(server_time: Callable[[], Awaitable[datetime | None]]) -> float | None:
    """Seconds that our clock is ahead of the server's, to about a second; None when it does not say."""
    before = datetime.now(UTC)
    try:
        there = await server_time()
    except ChrekError:
        return None
    if there is None:
        return None
    here = before + (datetime.now(UTC) - before) / 2
    return (here - there).total_seconds()
