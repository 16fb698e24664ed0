"""The operator as a whole: news, a queue, a resync, until told to stop."""

import asyncio
import logging
from typing import Final

from chrek_operator.delivery import Delivery, Routes
from chrek_operator.queueing import WorkQueue
from chrek_operator.reconciler import Key, Reconciler
from chrek_operator.settings import Settings
from kubectl_chrek.api.errors import ChrekError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS

LOG: Final = logging.getLogger(__name__)


async def run_operator(cluster: Cluster, settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set."""
    queue = WorkQueue(Reconciler(cluster, settings).reconcile)
    routes = Routes()
    work = {
        asyncio.create_task(queue.run(), name="queue"),
        asyncio.create_task(_resync(cluster, settings, routes, queue), name="resync"),
        asyncio.create_task(Delivery(cluster, settings, routes, queue.add).run(), name="delivery"),
    }
    stopped = asyncio.create_task(stop.wait(), name="stop")
    LOG.info(
        "operator runs in %s mode for %s on %s", settings.mode, ", ".join(settings.namespaces) or "all namespaces", cluster.server
    )
    try:
        done, _ = await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stopped, *work):
            task.cancel()
        await asyncio.gather(stopped, *work, return_exceptions=True)
    for task in done - {stopped}:
        task.result()
    LOG.info("operator stopped")


async def _resync(cluster: Cluster, settings: Settings, routes: Routes, queue: WorkQueue[Key]) -> None:
    """Everything is looked at now and then: a lost event, or a deadline that passed unseen, is only late."""
    while True:
        for namespace in settings.namespaces or ("",):
            for resource in (CHECKPOINTS, GRAPHS):
                try:
                    for body in await cluster.list(resource, namespace):
                        for key in routes.keys(resource, body):
                            queue.add(key)
                except NotFoundError:
                    LOG.debug("the server has no %s", resource.plural)
                except ChrekError as error:
                    LOG.warning("%s could not be listed: %s", resource.plural, error)
        await asyncio.sleep(settings.resync)
