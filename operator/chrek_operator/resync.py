"""Everything, looked at now and then: a lost event, or a deadline that passed unseen, is only late.

It takes a few lists, however many objects there are: what needs a step is found in them, and only that is looked at singly.
"""

import asyncio
import logging
from datetime import datetime
from typing import Any, Final

from chrek_operator.checkpoints import Seen, plan_checkpoint
from chrek_operator.integrated import is_held
from chrek_operator.objects import is_deleting
from chrek_operator.queueing import WorkQueue
from chrek_operator.reconciler import Key, utc_now
from chrek_operator.routes import Routes
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, NotFoundError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS, JOBS, PODS, POLICIES

LOG: Final = logging.getLogger(__name__)
_TOGETHER: Final = 50
"""So many are looked at before others get their turn."""

Body = dict[str, Any]


async def resync_for_ever(cluster: Cluster, settings: Settings, routes: Routes, queue: WorkQueue[Key]) -> None:
    """Looks, and rests, until cancelled."""
    while True:
        for namespace in settings.namespaces or ("",):
            try:
                await resync(cluster, settings, routes, queue, namespace)
            except ChrekError as error:
                LOG.warning("not everything could be listed: %s", error)
        await asyncio.sleep(settings.resync)


async def resync(cluster: Cluster, settings: Settings, routes: Routes, queue: WorkQueue[Key], namespace: str) -> None:
    """Queues whatever in a namespace (empty: in all) needs a step. Raises ChrekError."""
    for resource in (GRAPHS, POLICIES):
        for body in await _list(cluster, resource, namespace):
            for key in routes.keys(resource, body):
                queue.add(key)
    for pod in await _held(cluster, settings, namespace):
        queue.add(Key("graph", pod["metadata"]["namespace"], pod["metadata"]["labels"][names.LABEL_GRAPH]))
    jobs = {
        (job["metadata"]["namespace"], job["metadata"]["name"]): job
        for job in await cluster.list(JOBS, namespace, labels=names.LABEL_NAME)
    }
    now = utc_now()
    for count, body in enumerate(await _list(cluster, CHECKPOINTS, namespace)):
        metadata = body["metadata"]
        routes.keys(CHECKPOINTS, body)
        job = jobs.get((metadata["namespace"], names.job_name(metadata["name"])))
        if needs_a_step(body, job, now, settings):
            queue.add(Key("checkpoint", metadata["namespace"], metadata["name"]))
        if count % _TOGETHER == 0:
            await asyncio.sleep(0)


def needs_a_step(body: Body, job: Body | None, now: datetime, settings: Settings) -> bool:
    """Whether a look at the checkpoint itself would change anything, or has to wait for something."""
    if is_deleting(body) or (body.get("status") or {}).get("phase") not in (names.Phase.READY, names.Phase.FAILED):
        return True
    plan = plan_checkpoint(Seen(body, now, job), settings)
    return bool(plan.actions) or plan.recheck == 0


async def _held(cluster: Cluster, settings: Settings, namespace: str) -> list[Body]:
    """Pods that wait: their graph may have gone unseen."""
    if settings.mode != "integrate":
        return []
    found = await cluster.list(PODS, namespace, labels=f"{names.LABEL_GRAPH},{names.LABEL_RESTORE}", fields="status.phase=Pending")
    return [pod for pod in found if is_held(pod)]


async def _list(cluster: Cluster, resource: Resource, namespace: str) -> list[Body]:
    try:
        return await cluster.list(resource, namespace)
    except NotFoundError:
        LOG.debug("the server has no %s", resource.plural)
        return []
