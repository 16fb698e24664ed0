"""`logs`: what the capture's Job, the agents and the workers wrote about one checkpoint, in one stream."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ClusterError, UsageError
from kubectl_chrek.api.rendering import worker_container
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS
from kubectl_chrek.ops.listing import real_hash

Body = dict[str, Any]

AGENT_LABEL: Final = f"app.kubernetes.io/name={names.AGENT}"
JOB: Final = "job"
AGENT: Final = "agent"
WORKER: Final = "worker"
KINDS: Final = (JOB, AGENT, WORKER)
_STARTED: Final = ("Running", "Succeeded", "Failed")
_OLDEST: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Source:
    """One container's log. Of an agent's only the lines count that hold one of the `terms`."""

    kind: str
    namespace: str
    pod: str
    container: str
    terms: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What stands before its lines."""
        return f"[{self.kind}/{self.pod}]"

    def wants(self, text: str) -> bool:
        """The line is about the checkpoint."""
        return not self.terms or any(term in text for term in self.terms)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log. `at` is RFC 3339, as the kubelet wrote it."""

    at: str
    source: Source
    text: str


async def sources(cluster: Cluster, name: str, kinds: Sequence[str] = KINDS) -> tuple[list[Source], list[ChrekError]]:
    """The containers that have something to say, and why some could not be found out.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, name))
    pods = await cluster.list(PODS, labels=f"{names.LABEL_NAME}={name}")
    found = [source for pod in pods if (source := source_of(pod)) and source.kind in kinds]
    if AGENT not in kinds:
        return found, []
    try:
        agents = await cluster.list(PODS, "", labels=AGENT_LABEL)
    except ClusterError as error:
        return found, [error]
    nodes = {str((pod.get("spec") or {}).get("nodeName") or "") for pod in pods} | _nodes_of(checkpoint)
    terms = (name, real_hash(checkpoint), *(pod["metadata"]["name"] for pod in pods))
    return found + [_agent(pod, terms) for pod in agents if (pod.get("spec") or {}).get("nodeName") in nodes], []


def source_of(pod: Mapping[str, Any]) -> Source | None:
    """The worker's log of a pod that makes a checkpoint or asks for one; None while it has not begun to run."""
    metadata, container = pod["metadata"], worker_container(pod)
    if container is None or (pod.get("status") or {}).get("phase") not in _STARTED:
        return None
    kind = JOB if (metadata.get("labels") or {}).get(names.LABEL_SOURCE) == "true" else WORKER
    return Source(kind, metadata.get("namespace", ""), metadata["name"], container["name"])


async def read(cluster: Cluster, wanted: Iterable[Source], *, tail: int = 0) -> tuple[list[Line], list[ChrekError]]:
    """All lines so far in the order of their times, and an error for each container that could not be read."""
    answers = await asyncio.gather(*(_read_one(cluster, source, tail) for source in wanted))
    errors = [answer for answer in answers if isinstance(answer, ChrekError)]
    lines = [answer for answer in answers if not isinstance(answer, ChrekError)]
    return list(merge(*lines, key=lambda line: datetime.fromisoformat(line.at))), errors


async def follow(cluster: Cluster, name: str, kinds: Sequence[str] = KINDS, *, tail: int = 0) -> AsyncGenerator[Line, None]:
    """Lines as they come, of containers that are there and of those that come later, for ever.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    first, _ = await sources(cluster, name, kinds)
    queue: asyncio.Queue[Line | ChrekError] = asyncio.Queue()
    tasks = {source: asyncio.create_task(_pump(cluster, source, tail, queue)) for source in first}
    watcher = asyncio.create_task(_watch(cluster, name, kinds, tasks, queue))
    try:
        while True:
            line = await queue.get()
            if isinstance(line, ChrekError):
                raise line
            yield line
    finally:
        for task in (watcher, *tasks.values()):
            task.cancel()
        await asyncio.gather(watcher, *tasks.values(), return_exceptions=True)


def parse_kinds(text: str) -> tuple[str, ...]:
    """`job,worker` as kinds; empty means all.

    Raises:
        UsageError: One of them is unknown.
    """
    kinds = tuple(filter(None, text.split(","))) or KINDS
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"--only: unknown source {unknown[0]!r}", hint=f"any of {', '.join(KINDS)}")
    return kinds


async def _read_one(cluster: Cluster, source: Source, tail: int) -> list[Line] | ChrekError:
    try:
        async with aclosing(cluster.log_lines(source.pod, source.namespace, container=source.container, tail=tail)) as lines:
            return [line async for text in lines if (line := _line(source, text))]
    except ChrekError as error:
        return error


async def _pump(cluster: Cluster, source: Source, tail: int, queue: asyncio.Queue[Line | ChrekError]) -> None:
    """A container that has no log yet is simply quiet; one whose connection breaks ends it all."""
    lines = cluster.log_lines(source.pod, source.namespace, container=source.container, tail=tail, follow=True)
    try:
        async with aclosing(lines) as found:
            async for text in found:
                line = _line(source, text)
                if line:
                    queue.put_nowait(line)
    except ClusterError as error:
        queue.put_nowait(error)
    except ChrekError:
        return


async def _watch(
    cluster: Cluster,
    name: str,
    kinds: Sequence[str],
    tasks: dict[Source, asyncio.Task[None]],
    queue: asyncio.Queue[Line | ChrekError],
) -> None:
    """Begins to read each container that starts to run."""
    try:
        async with aclosing(cluster.watch(PODS, labels=f"{names.LABEL_NAME}={name}")) as events:
            async for event in events:
                source = source_of(event.object) if event.object else None
                if source and source.kind in kinds and source not in tasks:
                    tasks[source] = asyncio.create_task(_pump(cluster, source, 0, queue))
    except ChrekError as error:
        queue.put_nowait(error)


def _line(source: Source, text: str) -> Line | None:
    at, _, rest = text.partition(" ")
    return Line(at or _OLDEST, source, rest) if source.wants(rest) else None


def _agent(pod: Mapping[str, Any], terms: tuple[str, ...]) -> Source:
    metadata = pod["metadata"]
    container = (pod["spec"].get("containers") or [{}])[0].get("name", "")
    return Source(AGENT, metadata.get("namespace", ""), metadata["name"], container, terms)


def _nodes_of(checkpoint: Checkpoint) -> set[str]:
    artifact, restore = checkpoint.status.artifact, checkpoint.status.last_restore
    return {part.node for part in (artifact, restore) if part is not None}
