"""One object at a time: reads what is, has it planned, does the plan."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from chrek_operator.actions import Create
from chrek_operator.checkpoints import Seen, own_job, plan_checkpoint, plan_refused
from chrek_operator.execution import Executor
from chrek_operator.expiry import is_due
from chrek_operator.facts import gather_facts
from chrek_operator.graphs import plan_platform_status, plan_removals, plan_services, plan_status, plan_warnings
from chrek_operator.integrated import release
from chrek_operator.objects import LABEL_LIMIT, controlled_by, is_deleting
from chrek_operator.outcome import words
from chrek_operator.policies import plan_policy
from chrek_operator.services import Around, ServicePlan
from chrek_operator.settings import Settings
from chrek_operator.wanted import deployment_names, wanted_checkpoints
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ClusterError, ConflictError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, GRAPHS, JOBS, LEASES, PODS, POLICIES
from kubectl_chrek.ops.retention import in_use

YOUNG_SECONDS: Final = 600.0

Body = dict[str, Any]


class Key(NamedTuple):
    """What is reconciled."""

    kind: Literal["checkpoint", "graph", "policy"]
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
        resource, step = {
            "checkpoint": (CHECKPOINTS, self._checkpoint),
            "graph": (GRAPHS, self._graph),
            "policy": (POLICIES, self._policy),
        }[key.kind]
        body = await self._find(resource, key.name, key.namespace)
        if body is None and key.kind == "graph":
            # Pods that waited wait for nothing now.
            await self._executor.run(release(await self._platform_pods(key)).actions, key.namespace)
        return None if body is None else await step(body, key)

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
        seen = Seen(body, self._clock(), await self._find(JOBS, names.job_name(key.name), key.namespace))
        phase = (body.get("status") or {}).get("phase")
        if is_deleting(body):
            return replace(seen, pods=await self._sources(key), lease=await self._lease(body, key))
        if _expires(body, seen.now):
            seen = replace(seen, needed_by=await self._needed_by(body, key.namespace))
        if phase in (names.Phase.PENDING, names.Phase.CREATING):
            seen = replace(seen, same=await self._same(body, key.namespace))
        if phase != names.Phase.CREATING:
            return seen
        mine = own_job(seen)
        pods = await self._sources(key) if mine is not None else ()
        return replace(seen, pods=tuple(pod for pod in pods if mine is not None and controlled_by(pod, mine)))

    async def _sources(self, key: Key) -> tuple[Body, ...]:
        if len(key.name) > LABEL_LIMIT:
            return ()
        selector = f"{names.LABEL_SOURCE}=true,{names.LABEL_NAME}={key.name}"
        return tuple(await self._cluster.list(PODS, key.namespace, labels=selector))

    async def _same(self, body: Body, namespace: str) -> tuple[Body, ...] | None:
        identity_hash = (body["metadata"].get("labels") or {}).get(names.LABEL_HASH)
        if not identity_hash:
            return None
        return tuple(await self._cluster.list(CHECKPOINTS, namespace, labels=f"{names.LABEL_HASH}={identity_hash}"))

    async def _needed_by(self, body: Body, namespace: str) -> str:
        """Why a checkpoint must stay; looked up right before it would be deleted."""
        checkpoint = read_checkpoint(body)
        return in_use(checkpoint, await gather_facts(self._cluster, namespace, [checkpoint], self._clock()))

    async def _lease(self, body: Body, key: Key) -> Body | None:
        try:
            identity_hash = parse_identity(body["spec"].get("identity")).hash
        except IdentityError:
            return None
        return await self._find(LEASES, f"{names.LEASE_PREFIX}{identity_hash}", key.namespace)

    async def _graph(self, body: Body, key: Key) -> float | None:
        if is_deleting(body):
            return None
        checkpoints, deployments = await self._beside(body, key.namespace), await self._deployments(body, key.namespace)
        around = Around(checkpoints, deployments, await self._platform_pods(key))
        plans = plan_services(body, around, self._settings)
        raced = [await self._serve(plan, key.namespace) for plan in plans]
        last = [plan_warnings(body, plans)]
        if self._settings.mode == "own":
            last += [plan_removals(body, around, plans), plan_status(body, around, plans, self._clock())]
        else:
            last.append(plan_platform_status(body, plans, self._clock()))
        await self._executor.run([action for plan in last for action in plan.actions], key.namespace)
        if any(raced):
            return 0
        soon = self._is_young(body) or any(plan.note for plan in plans)
        return self._settings.poll if soon and any(plan.needs_pod for plan in plans) else None

    async def _policy(self, body: Body, key: Key) -> float | None:
        if is_deleting(body):
            return None
        now = self._clock()
        checkpoints = [read_checkpoint(found) for found in await self._cluster.list(CHECKPOINTS, key.namespace)]
        plan = plan_policy(body, checkpoints, await gather_facts(self._cluster, key.namespace, checkpoints, now), now)
        await self._executor.run(plan.actions, key.namespace)
        return plan.recheck

    async def _beside(self, graph: Body, namespace: str) -> tuple[Body, ...]:
        """The checkpoints that a graph may be about: by name, by hash, and those whose hash nobody has written down yet."""
        wanted = wanted_checkpoints(graph)
        found: dict[str, Body] = {}
        for name in sorted(wanted.names | wanted.hashes):
            body = await self._find(CHECKPOINTS, name, namespace)
            found |= {name: body} if body is not None else {}
        selectors = [f"{names.LABEL_HASH} in ({','.join(sorted(wanted.hashes))})", f"!{names.LABEL_HASH}"] if wanted.hashes else []
        for selector in selectors:
            found |= {body["metadata"]["name"]: body for body in await self._cluster.list(CHECKPOINTS, namespace, labels=selector)}
        return tuple(found.values())

    async def _deployments(self, graph: Body, namespace: str) -> tuple[Body, ...]:
        if self._settings.mode != "own" or len(graph["metadata"]["name"]) > LABEL_LIMIT:
            return ()
        selector = f"{names.LABEL_GRAPH}={graph['metadata']['name']}"
        found = {body["metadata"]["name"]: body for body in await self._cluster.list(DEPLOYMENTS, namespace, labels=selector)}
        for name in deployment_names(graph):
            # Somebody else's may have the name.
            body = None if name in found else await self._find(DEPLOYMENTS, name, namespace)
            found |= {name: body} if body is not None else {}
        return tuple(found.values())

    async def _platform_pods(self, key: Key) -> tuple[Body, ...]:
        if self._settings.mode != "integrate" or len(key.name) > LABEL_LIMIT:
            return ()
        return tuple(await self._cluster.list(PODS, key.namespace, labels=f"{names.LABEL_GRAPH}={key.name},!{names.LABEL_SOURCE}"))

    def _is_young(self, graph: Body) -> bool:
        """Its first pods are about to come; those of one that has long had none the resync finds, since pods are not watched."""
        created = graph["metadata"].get("creationTimestamp")
        return bool(created) and (self._clock() - datetime.fromisoformat(created)).total_seconds() < YOUNG_SECONDS

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


def _expires(body: Body, now: datetime) -> bool:
    """Its mark for deletion is due."""
    marked = names.ANNOTATION_DELETE_AFTER in (body["metadata"].get("annotations") or {})
    return marked and is_due(read_checkpoint(body), now)
