"""One object at a time: reads what is, has it planned, does the plan."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from chrek_operator.actions import Create
from chrek_operator.checkpoints import Seen, own_job, plan_checkpoint, plan_refused
from chrek_operator.execution import Executor
from chrek_operator.graphs import plan_removals, plan_services, plan_status, plan_warnings
from chrek_operator.objects import controlled_by, is_deleting
from chrek_operator.outcome import words
from chrek_operator.services import Around, ServicePlan
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ClusterError, ConflictError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, GRAPHS, JOBS, LEASES, PODS

Body = dict[str, Any]


class Key(NamedTuple):
    """What is reconciled."""

    kind: Literal["checkpoint", "graph"]
    namespace: str
    name: str


def utc_now() -> datetime:
    """The present, as planners are told it."""
    return datetime.now(UTC)


class Reconciler:
    """Brings single objects one step further."""

    def __init__(self, cluster: Cluster, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._executor = Executor(cluster)

    async def reconcile(self, key: Key) -> float | None:
        """One step; returns in how many seconds the next one is due, None for "at the next event". Raises ChrekError."""
        resource = CHECKPOINTS if key.kind == "checkpoint" else GRAPHS
        body = await self._find(resource, key.name, key.namespace)
        if body is None:
            return None
        return await (self._checkpoint(body, key) if key.kind == "checkpoint" else self._graph(body, key))

    async def _checkpoint(self, body: Body, key: Key) -> float | None:
        seen = await self._see(body, key)
        plan = plan_checkpoint(seen, self._settings)
        try:
            await self._executor.run(plan.actions, key.namespace)
        except (UsageError, ClusterError) as error:
            makes_job = any(isinstance(action, Create) and action.resource is JOBS for action in plan.actions)
            if not makes_job or (isinstance(error, ClusterError) and error.status != 403):
                raise
            plan = plan_refused(seen, error, self._settings)
            await self._executor.run(plan.actions, key.namespace)
        return plan.recheck

    async def _see(self, body: Body, key: Key) -> Seen:
        job = await self._find(JOBS, names.job_name(key.name), key.namespace)
        seen = Seen(body, self._clock(), job)
        phase = (body.get("status") or {}).get("phase")
        if not is_deleting(body) and phase != names.Phase.CREATING:
            return seen
        selector = f"{names.LABEL_SOURCE}=true,{names.LABEL_NAME}={key.name}"
        pods = await self._cluster.list(PODS, key.namespace, labels=selector) if len(key.name) <= 63 else []
        if not is_deleting(body):
            mine = own_job(seen)
            pods = [pod for pod in pods if mine is not None and controlled_by(pod, mine)]
        return Seen(body, seen.now, job, tuple(pods), await self._lease(body, key) if is_deleting(body) else None)

    async def _lease(self, body: Body, key: Key) -> Body | None:
        try:
            identity_hash = parse_identity(body["spec"].get("identity")).hash
        except IdentityError:
            return None
        return await self._find(LEASES, f"{names.LEASE_PREFIX}{identity_hash}", key.namespace)

    async def _graph(self, body: Body, key: Key) -> float | None:
        if is_deleting(body):
            return None
        around = Around(
            tuple(await self._cluster.list(CHECKPOINTS, key.namespace)), tuple(await self._cluster.list(DEPLOYMENTS, key.namespace))
        )
        plans = plan_services(body, around, self._settings)
        raced = [await self._serve(plan, key.namespace) for plan in plans]
        last = [plan_warnings(body, plans)]
        if self._settings.mode == "own":
            last += [plan_removals(body, around, plans), plan_status(body, around, plans, self._clock())]
        await self._executor.run([action for plan in last for action in plan.actions], key.namespace)
        return 0 if any(raced) else None

    async def _serve(self, plan: ServicePlan, namespace: str) -> bool:
        """Does one service's part, so that a refusal stops no other service; whether somebody else was faster."""
        try:
            await self._executor.run(plan.actions, namespace)
        except ConflictError:
            return True
        except (UsageError, ClusterError) as error:
            if isinstance(error, ClusterError) and error.status != 403:
                raise
            plan.fail("ServiceRefused", words(error))
        return False

    async def _find(self, resource: Resource, name: str, namespace: str) -> Body | None:
        try:
            return await self._cluster.get(resource, name, namespace)
        except NotFoundError:
            return None
