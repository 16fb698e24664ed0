"""What the TUI asks of a cluster, as a protocol."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kubectl_chrek.api.checkpoint import Checkpoint
    from kubectl_chrek.cluster import Event
    from kubectl_chrek.ops.findings import Finding
    from kubectl_chrek.ops.logs import Line
    from kubectl_chrek.ops.prewarm import Prewarmed, Wanted
    from kubectl_chrek.ops.retention import Candidate, Plan, Policy
    from kubectl_chrek.ops.usage import Report

Body = dict[str, Any]


class Source(Protocol):
    """One cluster. All methods raise ChrekError; a namespace of "" means all namespaces."""

    @property
    def server(self) -> str:
        """How the cluster is named in the banner."""
        ...

    @property
    def context(self) -> str:
        """The kubeconfig's context; empty when it is the current one."""
        ...

    @property
    def home(self) -> str:
        """The namespace in which new things are made when all are shown."""
        ...

    def watch(self, namespace: str) -> "AsyncGenerator[Event, None]":
        """The DynamoCheckpoints of a namespace, as `Cluster.watch` reports them."""
        ...

    def watch_pods(self, namespace: str, checkpoint: str) -> "AsyncGenerator[Event, None]":
        """The pods that made a checkpoint or ask for it."""
        ...

    def watch_workers(self, namespace: str) -> "AsyncGenerator[Event, None]":
        """The pods that belong to graphs or have to do with a checkpoint."""
        ...

    def watch_graphs(self, namespace: str) -> "AsyncGenerator[Event, None]":
        """The DynamoGraphDeployments; none where the kind is not installed."""
        ...

    def watch_nodes(self) -> "AsyncGenerator[Event, None]":
        """The ChrekNodes."""
        ...

    def follow_logs(self, namespace: str, checkpoint: str) -> "AsyncGenerator[Line, None]":
        """The logs of a checkpoint's Job, agents and workers, line by line, for ever."""
        ...

    async def namespaces(self) -> list[str]:
        """The names of all namespaces."""
        ...

    async def rights(self, namespace: str) -> frozenset[str]:
        """The verbs that the user may use on checkpoints."""
        ...

    async def events(self, namespace: str, about: Sequence[str]) -> list[Body]:
        """The Events about the objects of these names, in no order."""
        ...

    async def usage(self, namespace: str) -> "Report":
        """What checkpoints take."""
        ...

    async def findings(self, namespace: str, now: datetime) -> "list[Finding]":
        """What `doctor` finds."""
        ...

    async def plan(self, namespace: str, policy: "Policy", now: datetime) -> "Plan":
        """What `gc` would delete."""
        ...

    async def mark(self, candidate: "Candidate", due: datetime) -> None:
        """Has the operator delete that very checkpoint at a time."""
        ...

    async def undelete(self, checkpoint: "Checkpoint") -> bool:
        """Takes the mark off; returns whether there was one."""
        ...

    async def delete(self, namespace: str, name: str, uid: str) -> None:
        """Deletes the DynamoCheckpoint of this name, if it still is the one with this UID."""
        ...

    async def pin(self, checkpoint: "Checkpoint", now: datetime) -> None:
        """Pins it in the user's name."""
        ...

    async def unpin(self, checkpoint: "Checkpoint") -> None:
        """Takes the pin off."""
        ...

    async def verify(self, checkpoint: "Checkpoint", nonce: str) -> None:
        """Asks an agent to read its artifact back."""
        ...

    async def prewarm(self, wanted: "Wanted", namespace: str) -> "Prewarmed":
        """Creates the checkpoint, or finds it."""
        ...


class Contexts(Protocol):
    """The clusters that one can go to."""

    def names(self) -> list[str]:
        """The kubeconfig's contexts."""
        ...

    async def open(self, context: str) -> Source:
        """Connects; ChrekError when that fails."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that has been made, and the namespace to show first."""

    source: Source
    contexts: Contexts | None
    namespace: str


class Awaited:
    """A source that is still being connected to: whatever it is asked waits for the connection."""

    server = context = home = ""

    def __init__(self) -> None:
        self._source: asyncio.Future[Source] = asyncio.get_running_loop().create_future()

    def become(self, source: Source) -> None:
        """The connection has been made: this answers, also what has been asked."""
        self._source.set_result(source)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def answer(*about: Any) -> Any:
            return await getattr(await self._source, name)(*about)

        async def follow(*about: Any) -> AsyncGenerator[Any, None]:
            async with aclosing(getattr(await self._source, name)(*about)) as items:
                async for item in items:
                    yield item

        return answer if iscoroutinefunction(getattr(Source, name)) else follow
