"""Where the TUI's objects come from: a protocol, and the cluster behind it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, Protocol

from kubectl_chrek.api import names
from kubectl_chrek.api.rendering import worker_container
from kubectl_chrek.cluster import Cluster, Event
from kubectl_chrek.cluster.resources import CHECKPOINTS, EVENTS, NAMESPACES, PODS

Body = dict[str, Any]

LOG_LINES: Final = 1000


class CheckpointSource(Protocol):
    """What the TUI asks of a cluster. All methods raise ChrekError; a namespace of "" means all namespaces."""

    @property
    def server(self) -> str:
        """How the cluster is named in the banner."""
        ...

    def watch(self, namespace: str) -> AsyncGenerator[Event, None]:
        """The DynamoCheckpoints of a namespace, as `Cluster.watch` reports them."""
        ...

    def watch_pods(self, namespace: str, checkpoint: str) -> AsyncGenerator[Event, None]:
        """The pods that made a checkpoint or ask for it."""
        ...

    async def namespaces(self) -> list[str]:
        """The names of all namespaces."""
        ...

    async def events(self, namespace: str, about: Sequence[str]) -> list[Body]:
        """The Events about the objects of these names, in no order."""
        ...

    async def logs(self, namespace: str, pod: Mapping[str, Any]) -> str:
        """The last lines of the log of a pod's worker container."""
        ...

    async def delete(self, namespace: str, name: str, uid: str) -> None:
        """Deletes the DynamoCheckpoint of this name, if it still is the one with this UID."""
        ...


class ClusterSource:
    """The source that is an API server."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._cluster.server

    async def watch(self, namespace: str) -> AsyncGenerator[Event, None]:
        """As the protocol says."""
        async for event in self._cluster.watch(CHECKPOINTS, namespace):
            yield event

    async def watch_pods(self, namespace: str, checkpoint: str) -> AsyncGenerator[Event, None]:
        """As the protocol says."""
        async for event in self._cluster.watch(PODS, namespace, labels=f"{names.LABEL_NAME}={checkpoint}"):
            yield event

    async def namespaces(self) -> list[str]:
        """As the protocol says."""
        return sorted(body["metadata"]["name"] for body in await self._cluster.list(NAMESPACES))

    async def events(self, namespace: str, about: Sequence[str]) -> list[Body]:
        """As the protocol says; a field selector takes one name, so there is one request for each."""
        lists = await asyncio.gather(
            *(self._cluster.list(EVENTS, namespace, fields=f"involvedObject.name={name}") for name in about)
        )
        return [event for events in lists for event in events]

    async def logs(self, namespace: str, pod: Mapping[str, Any]) -> str:
        """As the protocol says."""
        container = worker_container(pod) or {}
        return await self._cluster.logs(pod["metadata"]["name"], namespace, container=container.get("name", ""), tail=LOG_LINES)

    async def delete(self, namespace: str, name: str, uid: str) -> None:
        """As the protocol says."""
        await self._cluster.delete(CHECKPOINTS, name, namespace, uid=uid)
