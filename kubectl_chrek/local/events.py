"""Events about objects, written in the background so that nobody waits for them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import EVENTS
from kubectl_chrek.local.clock import timestamp

Type = Literal["Normal", "Warning"]


class _Entry(NamedTuple):
    about: dict[str, Any]
    type: Type
    reason: str
    message: str
    now: float


class Recorder:
    """Writes events; what repeats is counted on the first one, as kubectl expects."""

    def __init__(self, cluster: Cluster, component: str, host: str = "") -> None:
        self._cluster = cluster
        self._source = {"component": component} | ({"host": host} if host else {})
        self._entries: asyncio.Queue[_Entry] = asyncio.Queue()
        self._seen: dict[tuple[str, str, str], tuple[str, int]] = {}

    @classmethod
    @asynccontextmanager
    async def start(cls, cluster: Cluster, component: str, host: str = "") -> AsyncIterator["Recorder"]:
        """A recorder that writes until the block is left."""
        recorder = cls(cluster, component, host)
        task = asyncio.create_task(recorder._write_all())
        try:
            yield recorder
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def record(self, about: Mapping[str, Any], type: Type, reason: str, message: str, field: str = "") -> None:  # noqa: A002 - the API's own word
        """Notes an event about an object; `field` is the part of it that is meant, like `spec.containers{main}`."""
        metadata = about["metadata"]
        reference = {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", "default"),
            "uid": metadata["uid"],
        }
        if field:
            reference["fieldPath"] = field
        self._entries.put_nowait(_Entry(reference, type, reason, message, time.time()))

    async def _write_all(self) -> None:
        while True:
            entry = await self._entries.get()
            # An event is a courtesy: a server that refuses one must not stop what it tells about.
            with contextlib.suppress(ChrekError):
                await self._write(entry)

    async def _write(self, entry: _Entry) -> None:
        namespace = entry.about["namespace"]
        key = (entry.about["uid"] + entry.about.get("fieldPath", ""), entry.reason, entry.message)
        now = timestamp(entry.now)
        if key in self._seen:
            name, count = self._seen[key]
            self._seen[key] = (name, count + 1)
            await self._cluster.patch(EVENTS, name, {"count": count + 1, "lastTimestamp": now}, namespace)
            return
        # Names end with a time, as a real cluster's: events of one second are listed in the order in which they happened.
        name = f"{entry.about['name']}.{time.time_ns():x}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": entry.about,
            "type": entry.type,
            "reason": entry.reason,
            "message": entry.message,
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        await self._cluster.create(EVENTS, body, namespace)
        self._seen[key] = (name, 1)
