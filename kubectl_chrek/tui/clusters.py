"""The sources that are API servers, and the way from one to the next."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from kubectl_chrek import __version__
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster, Event
from kubectl_chrek.cluster.credentials import context_names
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, EVENTS, GRAPHS, NAMESPACES, PODS
from kubectl_chrek.ops.connection import ConnectionOptions, open_cluster
from kubectl_chrek.ops.doctor_cluster import allowed
from kubectl_chrek.tui.source import Body, Source

if TYPE_CHECKING:
    from kubectl_chrek.api.checkpoint import Checkpoint
    from kubectl_chrek.ops.findings import Finding
    from kubectl_chrek.ops.logs import Line
    from kubectl_chrek.ops.prewarm import Prewarmed, Wanted
    from kubectl_chrek.ops.retention import Candidate, Plan, Policy
    from kubectl_chrek.ops.usage import Report

LOG_LINES: Final = 1000
"""Of each container's log so many lines are shown to begin with."""
VERBS: Final = ("create", "patch", "delete")
_LABELS: Final = (names.LABEL_NAME, names.LABEL_HASH, names.LABEL_GRAPH)
_ANNOTATIONS: Final = (names.ANNOTATION_STARTUP, names.ANNOTATION_RESTORE_FROM, names.ANNOTATION_UNTOUCHED)


class ClusterSource:
    """One API server; every question is one of the functions behind the commands, loaded when it is first asked."""

    def __init__(self, cluster: Cluster, context: str = "") -> None:
        self._cluster = cluster
        self.context = context

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._cluster.server

    @property
    def home(self) -> str:
        """The context's namespace."""
        return self._cluster.namespace

    def _at(self, namespace: str) -> Cluster:
        """The same connection with another namespace of its own: what has no argument for it uses that one."""
        there = copy(self._cluster)
        there.namespace = namespace or self._cluster.namespace
        return there

    async def watch(self, namespace: str) -> AsyncGenerator[Event, None]:
        """As the protocol says, like all below. Of those that vanish nobody needs more than which they were."""
        async for event in self._cluster.watch(CHECKPOINTS, namespace, remember=_known_by):
            yield event

    async def watch_pods(self, namespace: str, checkpoint: str) -> AsyncGenerator[Event, None]:
        """By label."""
        async for event in self._cluster.watch(PODS, namespace, labels=f"{names.LABEL_NAME}={checkpoint}"):
            yield event

    async def watch_workers(self, namespace: str) -> AsyncGenerator[Event, None]:
        """All pods are watched: those that asked in vain have an annotation only, which no server selects by."""
        async for event in self._cluster.watch(PODS, namespace):
            if event.type == "SYNCED" or _concerns(event.object):
                yield event

    async def watch_graphs(self, namespace: str) -> AsyncGenerator[Event, None]:
        """Without the kind the list is empty, and stays so until the next refresh."""
        try:
            async for event in self._cluster.watch(GRAPHS, namespace):
                yield event
        except NotFoundError:
            yield Event("SYNCED", {})
            await asyncio.Event().wait()

    async def watch_nodes(self) -> AsyncGenerator[Event, None]:
        """They have no namespace."""
        async for event in self._cluster.watch(CHREK_NODES, ""):
            yield event

    async def follow_logs(self, namespace: str, checkpoint: str) -> "AsyncGenerator[Line, None]":
        """The last lines, then what comes."""
        from kubectl_chrek.ops import logs

        async with aclosing(logs.follow(self._at(namespace), checkpoint, tail=LOG_LINES)) as lines:
            async for line in lines:
                yield line

    async def namespaces(self) -> list[str]:
        """Sorted."""
        return sorted(body["metadata"]["name"] for body in await self._cluster.list(NAMESPACES))

    async def rights(self, namespace: str) -> frozenset[str]:
        """By a SelfSubjectAccessReview for each verb."""
        asked = (allowed(self._cluster, namespace, names.GROUP, names.CHECKPOINT_PLURAL, verb) for verb in VERBS)
        answers = await asyncio.gather(*asked)
        return frozenset(verb for verb, answer in zip(VERBS, answers, strict=True) if answer)

    async def events(self, namespace: str, about: Sequence[str]) -> list[Body]:
        """A field selector takes one name, so there is one request for each."""
        lists = await asyncio.gather(
            *(self._cluster.list(EVENTS, namespace, fields=f"involvedObject.name={name}") for name in about)
        )
        return [event for events in lists for event in events]

    async def usage(self, namespace: str) -> "Report":
        """As `df`."""
        from kubectl_chrek.ops import usage

        return await usage.fetch(self._at(namespace), _scope(namespace))

    async def findings(self, namespace: str, now: datetime) -> "list[Finding]":
        """As `doctor`."""
        from kubectl_chrek.ops import doctor

        return await doctor.examine(self._at(namespace), _scope(namespace), now, version=__version__)

    async def plan(self, namespace: str, policy: "Policy", now: datetime) -> "Plan":
        """As `gc`."""
        from kubectl_chrek.ops import gc

        return await gc.make_plan(self._at(namespace), _scope(namespace), policy, now)

    async def mark(self, candidate: "Candidate", due: datetime) -> None:
        """As `gc --grace`."""
        from kubectl_chrek.ops import gc

        await gc.mark_candidate(self._cluster, candidate, due)

    async def undelete(self, checkpoint: "Checkpoint") -> bool:
        """As `undelete`."""
        from kubectl_chrek.ops import gc

        return (await gc.undelete(self._cluster, checkpoint.metadata.name, checkpoint.metadata.namespace)).changed

    async def delete(self, namespace: str, name: str, uid: str) -> None:
        """As `gc NAME --now`."""
        await self._cluster.delete(CHECKPOINTS, name, namespace, uid=uid)

    async def pin(self, checkpoint: "Checkpoint", now: datetime) -> None:
        """As `pin`."""
        from kubectl_chrek.ops import pinning

        metadata = checkpoint.metadata
        await pinning.pin(self._cluster, metadata.name, metadata.namespace, by=pinning.whoami(), note="", now=now)

    async def unpin(self, checkpoint: "Checkpoint") -> None:
        """As `unpin`."""
        from kubectl_chrek.ops import pinning

        await pinning.unpin(self._cluster, checkpoint.metadata.name, checkpoint.metadata.namespace)

    async def verify(self, checkpoint: "Checkpoint", nonce: str) -> None:
        """As `verify --no-wait`."""
        from kubectl_chrek.ops import verifying

        await verifying.request(self._cluster, checkpoint, nonce)

    async def prewarm(self, wanted: "Wanted", namespace: str) -> "Prewarmed":
        """As `prewarm`."""
        from kubectl_chrek.ops import prewarm

        return await prewarm.prewarm(self._cluster, wanted, namespace or self.home)


class KubeconfigContexts:
    """The contexts of a kubeconfig. A connection once opened stays open to the end: one may come back to it."""

    def __init__(self, options: ConnectionOptions, stack: AsyncExitStack) -> None:
        self._options = options
        self._stack = stack

    def names(self) -> list[str]:
        """Sorted."""
        return context_names(self._options.kubeconfig or None)

    async def open(self, context: str) -> Source:
        """Connects, and asks the server for its version to see that it answers."""
        options = replace(self._options, context=context)
        cluster = await self._stack.enter_async_context(open_cluster(options))
        await cluster.version()
        return ClusterSource(cluster, context)


def _scope(namespace: str) -> ConnectionOptions:
    return ConnectionOptions(all_namespaces=not namespace)


def _known_by(body: Body) -> Body:
    return {"metadata": {name: body["metadata"].get(name) for name in ("namespace", "name", "uid")}}


def _concerns(pod: Mapping[str, Any]) -> bool:
    metadata = pod["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return any(name in labels for name in _LABELS) or any(name in annotations for name in _ANNOTATIONS)
