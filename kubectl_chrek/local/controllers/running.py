"""The controllers at work: watches feed the cache, what changed is planned anew, plans are carried out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster, Event, Resource
from kubectl_chrek.cluster.resources import DEPLOYMENTS, JOBS, NODES, PODS, REPLICA_SETS
from kubectl_chrek.local.controllers import deployments, jobs, pods, replicasets, scheduling
from kubectl_chrek.local.controllers.actions import Plan
from kubectl_chrek.local.controllers.cache import Cache
from kubectl_chrek.local.controllers.writing import Writer
from kubectl_chrek.local.events import Recorder

_LOG: Final = logging.getLogger(__name__)
_RETRY_SECONDS: Final = 1.0
_WATCHED: Final = (NODES, DEPLOYMENTS, REPLICA_SETS, JOBS, PODS)
_COMPONENTS: Final = {
    "Job": "job-controller",
    "ReplicaSet": "replicaset-controller",
    "Deployment": "deployment-controller",
    "Pod": "default-scheduler",
}


async def run_controllers(cluster: Cluster, *, backoff_seconds: float = 10.0) -> None:
    """Runs until cancelled; `backoff_seconds` is the delay before a Job's second attempt, it doubles with each one."""
    controllers = _Controllers(cluster, backoff_seconds)
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
        for kind, component in _COMPONENTS.items():
            recorder = await stack.enter_async_context(Recorder.start(cluster, component))
            queue = controllers.queue(kind)
            group.create_task(queue.work(controllers.planner(kind), Writer(cluster, controllers.cache, recorder)))
        for resource in _WATCHED:
            group.create_task(controllers.watch(resource))
        await asyncio.Event().wait()


class _Queue:
    """UIDs of objects to plan for: each at most once, some only after a while."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def add(self, uid: str) -> None:
        self._due[uid] = None
        self._filled.set()

    async def work(self, planner: Callable[[str], Plan], writer: Writer) -> None:
        while True:
            await self._filled.wait()
            uid = next(iter(self._due))
            del self._due[uid]
            if not self._due:
                self._filled.clear()
            try:
                plan = planner(uid)
                await writer.carry_out(plan.actions)
            except ChrekError as error:
                _LOG.warning("%s", error)
                self._later(uid, _RETRY_SECONDS)
            except Exception:
                # An object that no plan was made for must not stop the others.
                _LOG.exception("no plan for %s", uid)
            else:
                self._later(uid, plan.after)

    def _later(self, uid: str, after: float | None) -> None:
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()
        if after is not None:
            self._timers[uid] = asyncio.get_running_loop().call_later(after, self.add, uid)


class _Controllers:
    """The cache, the queues, and who is asked when something changes."""

    def __init__(self, cluster: Cluster, backoff_seconds: float) -> None:
        self.cache = Cache()
        self._cluster = cluster
        self._backoff = backoff_seconds
        self._queues = {kind: _Queue() for kind in _COMPONENTS}
        self._tallies: dict[str, jobs.Tally] = {}
        self._unsynced = {resource.kind for resource in _WATCHED}

    def queue(self, kind: str) -> _Queue:
        return self._queues[kind]

    def planner(self, kind: str) -> Callable[[str], Plan]:
        plans: dict[str, Callable[[dict[str, Any], float], Plan]] = {
            "Job": self._plan_job,
            "ReplicaSet": lambda found, now: replicasets.plan(found, self.cache.owned(found["metadata"]["uid"], "Pod"), now),
            "Deployment": lambda found, now: deployments.plan(found, self.cache.owned(found["metadata"]["uid"], "ReplicaSet"), now),
            "Pod": lambda found, now: scheduling.plan(found, self.cache.all("Node"), self.cache.all("Pod"), now),
        }

        def plan(uid: str) -> Plan:
            found = self.cache.get(uid)
            # Plans are made only from a whole picture: a Job whose pods are not listed yet would get new ones.
            return Plan() if found is None or self._unsynced else plans[kind](found, time.time())

        return plan

    async def watch(self, resource: Resource) -> None:
        while True:
            with contextlib.suppress(ChrekError):
                async for event in self._cluster.watch(resource, ""):
                    self._notice(resource, event)
            await asyncio.sleep(_RETRY_SECONDS)

    def _notice(self, resource: Resource, event: Event) -> None:
        if event.type == "SYNCED":
            self._unsynced.discard(resource.kind)
            if not self._unsynced:
                self._ask(found for kind in _COMPONENTS for found in self.cache.all(kind))
            return
        found: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, **event.object}
        deleted = event.type == "DELETED"
        if deleted:
            self.cache.remove(found)
            self._tallies.pop(found["metadata"]["uid"], None)
        else:
            self.cache.put(found)
        tally = self._tallies.get(pods.owner_uid(found))
        if tally is not None and resource is PODS:
            tally.see(found, time.time(), deleted=deleted)
        self._ask([found])
        freed = resource is NODES or (resource is PODS and (deleted or not pods.active(found)))
        if freed:
            self._ask(pod for pod in self.cache.all("Pod") if scheduling.is_pending(pod))

    def _ask(self, changed: Iterable[Mapping[str, Any]]) -> None:
        """Queues what changed, and its owner."""
        for found in changed:
            owner = self.cache.get(pods.owner_uid(found))
            for one in (found, owner):
                if one is not None and one["kind"] in self._queues:
                    self._queues[one["kind"]].add(one["metadata"]["uid"])

    def _plan_job(self, job: dict[str, Any], now: float) -> Plan:
        uid = job["metadata"]["uid"]
        found = self.cache.owned(uid, "Pod")
        if uid not in self._tallies:
            self._tallies[uid] = jobs.Tally.resume(job, found)
        for pod in found:
            self._tallies[uid].see(pod, now)
        return jobs.plan(job, found, self._tallies[uid], now, self._backoff)
