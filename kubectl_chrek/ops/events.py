"""`events`: Kubernetes' Events about a checkpoint, its Job and its pods, or about all that is ours."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, EVENTS, PODS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import NONE, human_age

Body = dict[str, Any]

COLUMNS: Final = ("LAST-SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")
_OURS: Final = (names.CHECKPOINT_KIND, names.GRAPH_KIND)
_WRITERS: Final = (names.AGENT, names.OPERATOR)
_LAST: Final = "9999"


async def fetch(cluster: Cluster, options: ConnectionOptions, checkpoint: str = "") -> list[Body]:
    """The events about a checkpoint with its Job and pods, or about all checkpoints and graphs; oldest first.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    if checkpoint:
        about = await objects_of(cluster, checkpoint)
        lists = await asyncio.gather(*(cluster.list(EVENTS, fields=f"involvedObject.name={name}") for name in sorted(about)))
        found = {event["metadata"]["uid"]: event for events in lists for event in events}
        return sorted(found.values(), key=last_seen)
    ours: list[Body] = []
    # A cluster has many events, and few are ours.
    async with aclosing(cluster.pages(EVENTS, options.scope(cluster))) as pages:
        async for events in pages:
            ours += filter(is_ours, events)
    return sorted(ours, key=last_seen)


async def follow(cluster: Cluster, options: ConnectionOptions, checkpoint: str = "") -> AsyncGenerator[Body, None]:
    """The same, then each event as it comes, for ever.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    about: Collection[str] = await objects_of(cluster, checkpoint) if checkpoint else ()
    first: list[Body] | None = []
    scope = cluster.namespace if checkpoint else options.scope(cluster)
    async with aclosing(cluster.watch(EVENTS, scope)) as changes:
        async for change in changes:
            if change.type == "SYNCED":
                for event in sorted(first or [], key=last_seen):
                    yield event
                first = None
            elif change.type != "DELETED" and _wanted(change.object, checkpoint, about):
                if first is None:
                    yield change.object
                else:
                    first.append(change.object)


async def objects_of(cluster: Cluster, checkpoint: str) -> set[str]:
    """Names of the checkpoint, its Job and the pods that made it or ask for it.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    await cluster.get(CHECKPOINTS, checkpoint)
    pods = await cluster.list(PODS, labels=f"{names.LABEL_NAME}={checkpoint}")
    return {checkpoint, names.job_name(checkpoint), *(pod["metadata"]["name"] for pod in pods)}


def is_ours(event: Mapping[str, Any]) -> bool:
    """It is about one of our objects, or one of our programs wrote it."""
    return (event.get("involvedObject") or {}).get("kind") in _OURS or writer(event) in _WRITERS


def writer(event: Mapping[str, Any]) -> str:
    """The component that reported it; empty when it is not known."""
    return str(event.get("reportingComponent") or (event.get("source") or {}).get("component") or "")


def last_seen(event: Mapping[str, Any]) -> str:
    """RFC 3339. `eventTime` is set by newer writers, `lastTimestamp` by older ones; one without any comes last."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), event["metadata"].get("creationTimestamp") or _LAST))


def count(event: Mapping[str, Any]) -> int:
    """How often it was seen."""
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def age(event: Mapping[str, Any], now: datetime) -> str:
    """How long ago it was last seen, and how often if more than once."""
    last = last_seen(event)
    text = human_age(None if last == _LAST else datetime.fromisoformat(last), now)
    return text + (f" (x{count(event)})" if count(event) > 1 else "")


def message(event: Mapping[str, Any]) -> str:
    """Its message without blanks around it."""
    return str(event.get("message") or "").strip()


def headers(*, namespaces: bool) -> list[str]:
    """The columns of a table."""
    return ["NAMESPACE"] * namespaces + list(COLUMNS)


def row(event: Mapping[str, Any], now: datetime, *, namespaces: bool) -> list[str]:
    """The cells of one event."""
    about = event.get("involvedObject") or {}
    place = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    cells = [age(event, now), event.get("type") or NONE, event.get("reason") or NONE, place, message(event)]
    return [str(event["metadata"].get("namespace", ""))] * namespaces + cells


def rows(events: Sequence[Mapping[str, Any]], now: datetime, *, namespaces: bool) -> list[list[str]]:
    """The cells of all of them."""
    return [row(event, now, namespaces=namespaces) for event in events]


def _wanted(event: Mapping[str, Any], checkpoint: str, about: Collection[str]) -> bool:
    """Pods that come later have names that nobody knows yet, but their checkpoint's events come from our programs."""
    if not checkpoint:
        return is_ours(event)
    name = str((event.get("involvedObject") or {}).get("name", ""))
    return name in about or name.startswith(f"{names.job_name(checkpoint)}-")
