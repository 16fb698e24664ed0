"""The operator as a whole: news, a queue, a resync, until told to stop."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from chrek_operator.delivery import Delivery
from chrek_operator.leadership import Leadership
from chrek_operator.queueing import WorkQueue
from chrek_operator.reconciler import Reconciler
from chrek_operator.resync import resync_for_ever
from chrek_operator.routes import Routes
from chrek_operator.settings import Settings
from kubectl_chrek.cluster import Cluster

LOG: Final = logging.getLogger(__name__)


async def run_operator(cluster: Cluster, settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set. Webhooks are served by every operator; only the one that holds the Lease acts."""
    LOG.info(
        "operator runs in %s mode for %s on %s", settings.mode, ", ".join(settings.namespaces) or "all namespaces", cluster.server
    )
    work = {asyncio.create_task(_lead(cluster, settings), name="operator")}
    if settings.webhook is not None:
        # It needs libraries that an operator without webhooks does not have to have.
        from chrek_operator.admission.running import run_webhooks

        work.add(asyncio.create_task(run_webhooks(cluster, settings, settings.webhook), name="webhooks"))
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end({stopped, *work})
    for task in done - {stopped}:
        task.result()
    LOG.info("operator stopped")


async def _lead(cluster: Cluster, settings: Settings) -> None:
    """Acts, if and as long as it is our turn."""
    if not settings.lease_namespace:
        await _act(cluster, settings)
        return
    lease = Leadership(cluster, settings.lease_namespace, settings.lease_seconds)
    await lease.run(lambda: _act(cluster, settings))


async def _act(cluster: Cluster, settings: Settings) -> None:
    """Acts until cancelled. All that is known is in the cluster: each turn begins with nothing."""
    queue = WorkQueue(Reconciler(cluster, settings).reconcile)
    routes = Routes()
    work = {
        asyncio.create_task(queue.run(), name="queue"),
        asyncio.create_task(resync_for_ever(cluster, settings, routes, queue), name="resync"),
        asyncio.create_task(Delivery(cluster, settings, routes, queue.add).run(), name="delivery"),
    }
    try:
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(work)
    for task in done:
        task.result()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
