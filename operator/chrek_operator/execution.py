"""The planners' actions, done."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from chrek_operator.actions import Action, Create, Delete, Ensure, Patch, Provide, Replace, Tell
from chrek_operator.draft import merge_patch
from chrek_operator.objects import digest, timestamp
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import EVENTS

LOG: Final = logging.getLogger(__name__)
MESSAGE_LIMIT: Final = 1024
"""The API server refuses longer Events."""
_REMEMBERED: Final = 4096

Body = dict[str, Any]


class Executor:
    """Does actions in one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._told: OrderedDict[str, None] = OrderedDict()

    async def run(self, actions: Iterable[Action], namespace: str) -> None:
        """Does the actions in order. Raises what the API server says to any but a Delete of what is gone, or an Event."""
        for action in actions:
            match action:
                case Create(resource, body):
                    await self._cluster.create(resource, body, namespace)
                    LOG.info("%s/%s: created %s %s", namespace, body["metadata"]["name"], resource.kind, body["metadata"]["name"])
                case Ensure():
                    await self._ensure(action, namespace)
                case Provide(resource, body):
                    await self._provide(resource, body, namespace)
                case Replace(resource, body):
                    await self._cluster.replace(resource, body, namespace)
                    LOG.info("%s/%s: updated %s", namespace, body["metadata"]["name"], resource.kind)
                case Patch(resource, name, patch, subresource):
                    await self._cluster.patch(resource, name, patch, namespace, subresource=subresource)
                case Delete():
                    await self._delete(action, namespace)
                case Tell():
                    await self._tell(action, namespace)

    async def _ensure(self, action: Ensure, namespace: str) -> None:
        """What somebody else changes at the same moment is read again."""
        for last in (False, False, True):
            try:
                await self._ensure_once(action, namespace)
            except ConflictError:
                if last:
                    raise
                continue
            return

    async def _ensure_once(self, action: Ensure, namespace: str) -> None:
        name = action.body["metadata"]["name"]
        try:
            present = await self._cluster.get(action.resource, name, namespace)
        except NotFoundError:
            await self._cluster.create(action.resource, action.body, namespace)
            return
        wanted = {key: value for key, value in action.body.items() if key not in ("apiVersion", "kind", "metadata")}
        changes = merge_patch({key: present.get(key) for key in wanted if key in present}, wanted)
        if changes:
            version = {"resourceVersion": present["metadata"]["resourceVersion"]}
            await self._cluster.patch(action.resource, name, {"metadata": version, **changes}, namespace)

    async def _provide(self, resource: Resource, body: Body, namespace: str) -> None:
        name = body["metadata"]["name"]
        try:
            await self._cluster.get(resource, name, namespace)
        except NotFoundError:
            with suppress(ConflictError):
                await self._cluster.create(resource, body, namespace)
                LOG.info("%s/%s: created %s", namespace, name, resource.kind)

    async def _delete(self, action: Delete, namespace: str) -> None:
        try:
            await self._cluster.delete(action.resource, action.name, namespace, uid=action.uid)
        except NotFoundError:
            return
        LOG.info("%s/%s: deleted %s", namespace, action.name, action.resource.kind)

    async def _tell(self, tell: Tell, namespace: str) -> None:
        """An Event is a courtesy: that it cannot be posted stops nothing."""
        body = event_body(tell, namespace, datetime.now(UTC))
        name = body["metadata"]["name"]
        if name in self._told:
            return
        LOG.log(
            logging.WARNING if tell.warning else logging.INFO, "%s/%s: %s", namespace, tell.about["metadata"]["name"], tell.message
        )
        try:
            await self._cluster.create(EVENTS, body, namespace)
        except ConflictError:
            LOG.debug("%s/%s: told before", namespace, name)
        except ChrekError as error:
            LOG.warning("%s/%s: no Event could be posted: %s", namespace, name, error)
            return
        self._told[name] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)


def event_body(tell: Tell, namespace: str, now: datetime) -> Body:
    """The Event; its name says what it tells, so that the same is not told twice, by this operator or its successor."""
    metadata = tell.about["metadata"]
    suffix = digest([metadata["uid"], tell.reason, tell.message, tell.key])
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{metadata['name']}.{suffix}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": tell.about["apiVersion"],
            "kind": tell.about["kind"],
            "name": metadata["name"],
            "namespace": namespace,
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "reason": tell.reason,
        "message": tell.message[:MESSAGE_LIMIT],
        "type": "Warning" if tell.warning else "Normal",
        "source": {"component": names.OPERATOR},
        "reportingComponent": names.OPERATOR,
        "reportingInstance": names.OPERATOR,
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
