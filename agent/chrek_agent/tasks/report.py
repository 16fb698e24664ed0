"""What the agent tells the API server: its fields of a status, events, annotations. Shapes are pure; sending is at the end."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.capture import Captured
from chrek_agent.container.inventory import summarise
from chrek_agent.telemetry.times import timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Metadata
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, EVENTS, PODS, Resource

LOG: Final = logging.getLogger(__name__)
MESSAGE_LIMIT: Final = 1000
PROCESSES_LIMIT: Final = 64
ATTEMPTS: Final = 5
"""How often a status is read again that others have changed."""

Change = Callable[[Mapping[str, Any]], dict[str, Any]]


def artifact_status(captured: Captured, node: str, now: datetime) -> dict[str, Any]:
    """`status` of a checkpoint whose artifact is there."""
    manifest = captured.manifest
    artifact = {
        "generation": manifest.generation,
        "digest": captured.digest,
        "bytes": manifest.size,
        "storedBytes": manifest.sizes.stored,
        "uniqueBytes": manifest.sizes.stored,
        "files": len(manifest.files),
        "node": node,
        "capturedAt": timestamp(now),
        "coldStartSeconds": manifest.cold_start_seconds,
        "captureSeconds": captured.seconds,
        "phases": manifest.phases,
        "phaseBytes": captured.moved,
        "compatibility": captured.compatibility.model_dump(mode="json", by_alias=True, exclude_none=True),
        "processes": [process.model_dump(mode="json", by_alias=True) for process in captured.processes[:PROCESSES_LIMIT]],
        "inventory": summarise(captured.inventory),
    }
    return {"artifact": artifact, "progress": None, "failure": None}


def outcome_status(status: Mapping[str, Any], outcome: Mapping[str, Any], pod: str, node: str, now: datetime) -> dict[str, Any]:
    """`status` after one more pod has been restored or has started cold."""
    counter = "restores" if outcome["result"] == "restored" else "coldStarts"
    # What an earlier outcome had and this one has not is taken away.
    last = {"cause": "", "phases": None, "phaseBytes": None, "pod": pod, "node": node, "at": timestamp(now), **outcome}
    counted: dict[str, Any] = {"lastRestore": last, counter: int(status.get(counter) or 0) + 1}
    if last["cause"]:
        causes = status.get("coldStartsByCause") or {}
        counted["coldStartsByCause"] = {last["cause"]: int(causes.get(last["cause"]) or 0) + 1}
    return counted


def death_status(status: Mapping[str, Any], pod: str, node: str, reason: str, seconds: float, now: datetime) -> dict[str, Any]:
    """`status` after a restored worker has ended in its first seconds: it does not count as a restore."""
    last: dict[str, Any] = {"pod": pod, "node": node, "at": timestamp(now), "result": "failed", "cause": names.Cause.DIED_EARLY}
    last |= {"reason": reason, "seconds": seconds}
    return {"lastRestore": last, "restores": max(0, int(status.get("restores") or 0) - 1)}


class Reporter:
    """Sends reports for one node. A report that fails is logged: nothing waits for it but `artifact`.

    Each is written to the version that was read for it, of that very checkpoint: a server takes a status for whatever has the
    name by now, whichever UID the patch gives.
    """

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    async def artifact(self, of: Metadata, captured: Captured, at: datetime | None = None) -> None:
        """Publishes a verified artifact, captured now or `at` a time. Raises what the API server says: it is of no use then."""
        status = artifact_status(captured, self._node, at or datetime.now(UTC))
        await self._change(of.namespace, of.name, lambda _: status, of.uid)

    async def failure(self, of: Metadata, reason: str) -> None:
        """Says why a capture failed."""
        await self._set(of, {"failure": reason[:MESSAGE_LIMIT], "progress": None})

    async def progress(self, of: Metadata, progress: Mapping[str, Any]) -> None:
        """Says how far a capture is."""
        await self._set(of, {"progress": progress})

    async def verification(self, of: Metadata, verification: Mapping[str, Any]) -> None:
        """Says how far a verification is, or what it found."""
        await self._set(of, {"verification": verification})

    async def lost(self, namespace: str, name: str, generation: str, reason: str) -> None:
        """Withdraws an artifact that is missing or corrupt, unless another one has been published since."""

        def withdraw(status: Mapping[str, Any]) -> dict[str, Any]:
            same = (status.get("artifact") or {}).get("generation") == generation
            return {"artifact": None, "failure": reason[:MESSAGE_LIMIT]} if same else {}

        await self._try(namespace, name, withdraw)

    async def outcome(self, namespace: str, name: str, pod: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Counts a restore or a cold start in the checkpoint and notes it on the pod."""
        await self._annotate(pod, {"checkpoint": name, **outcome})
        own = pod["metadata"]["name"]
        await self._try(namespace, name, lambda status: outcome_status(status, outcome, own, self._node, datetime.now(UTC)))

    async def death(self, namespace: str, name: str, pod: Mapping[str, Any], reason: str, seconds: float) -> None:
        """Takes back a restore whose worker has ended in its first seconds."""
        own = pod["metadata"]["name"]
        await self._annotate(pod, {"checkpoint": name, "result": "failed", "reason": reason, "seconds": seconds})
        await self._try(namespace, name, lambda status: death_status(status, own, self._node, reason, seconds, datetime.now(UTC)))

    async def event(self, resource: Resource, body: Mapping[str, Any], reason: str, message: str, *, warning: bool = False) -> None:
        """Records an event about an object."""
        metadata = body["metadata"]
        now = timestamp(datetime.now(UTC))
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message[:MESSAGE_LIMIT],
            "type": "Warning" if warning else "Normal",
            "source": {"component": names.AGENT, "host": self._node},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._cluster.create(EVENTS, event, metadata["namespace"])
        except ChrekError as error:
            LOG.warning("event %s about %s was lost: %s", reason, metadata["name"], error)

    async def _annotate(self, pod: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        patch = {"metadata": {"annotations": {names.ANNOTATION_STARTUP: json.dumps(content)}, "uid": metadata["uid"]}}
        try:
            await self._cluster.patch(PODS, metadata["name"], patch, metadata["namespace"])
        except ChrekError as error:
            LOG.warning("pod %s could not be annotated: %s", metadata["name"], error)

    async def _set(self, of: Metadata, fields: dict[str, Any]) -> None:
        await self._try(of.namespace, of.name, lambda _: fields, of.uid)

    async def _try(self, namespace: str, name: str, change: Change, uid: str = "") -> None:
        try:
            await self._change(namespace, name, change, uid)
        except NotFoundError:
            LOG.debug("checkpoint %s/%s is gone", namespace, name)
        except ChrekError as error:
            LOG.warning("status of checkpoint %s/%s could not be written: %s", namespace, name, error)

    async def _change(self, namespace: str, name: str, change: Change, uid: str = "") -> None:
        """Writes what `change` makes of a status, nothing if that is nothing; what others have written meanwhile is read again.

        Args:
            namespace: Of the checkpoint.
            name: Of the checkpoint.
            change: From the status to the fields that are to change.
            uid: The very checkpoint; empty: whichever has the name.

        Raises:
            NotFoundError: It is gone.
            ChrekError: The API server refused, or others write all the time.
        """
        for attempt in range(1, ATTEMPTS + 1):
            body = await self._cluster.get(CHECKPOINTS, name, namespace)
            if uid and body["metadata"]["uid"] != uid:
                raise NotFoundError(f"another checkpoint has the name {name} by now")
            fields = change(body.get("status") or {})
            if not fields:
                return
            guarded = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "status": fields}
            try:
                await self._cluster.patch(CHECKPOINTS, name, guarded, namespace, subresource="status")
            except ConflictError:
                if attempt == ATTEMPTS:
                    raise
                continue
            return
