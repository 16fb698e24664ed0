"""What to do about one DynamoGraphDeployment, and what to say about it. Pure: from what is seen to plans."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from chrek_operator.actions import Delete, Plan, Tell
from chrek_operator.draft import Draft
from chrek_operator.integrated import PODS_DIFFER, plan_platform_service
from chrek_operator.objects import controlled_by, is_deleting
from chrek_operator.services import Around, ServicePlan, plan_service
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.names import Reason
from kubectl_chrek.cluster.resources import DEPLOYMENTS, GRAPHS

Body = dict[str, Any]

READY: Final = "Ready"
CHECKPOINTS_FOUND: Final = "CheckpointsFound"
"""Condition types of a graph."""


def plan_services(graph: Body, around: Around, settings: Settings) -> list[ServicePlan]:
    """One plan for each service; a service that cannot be had stops no other."""
    plans: list[ServicePlan] = []
    for service in (graph.get("spec") or {}).get("services") or {}:
        if settings.mode == "integrate":
            plans.append(plan_platform_service(graph, service, around))
            continue
        plan = plan_service(graph, service, around, settings)
        if plan.deployment and any(plan.deployment == other.deployment for other in plans):
            plan = ServicePlan(service)
            plan.fail("InvalidService", f"spec.services.{service}: another service's name differs only in case or punctuation")
        plans.append(plan)
    return plans


def plan_removals(graph: Body, around: Around, plans: Sequence[ServicePlan]) -> Plan:
    """The Deployments of services that the graph no longer has."""
    services = (graph.get("spec") or {}).get("services") or {}
    wanted = {plan.deployment for plan in plans}
    stale = [
        deployment
        for deployment in around.deployments
        if controlled_by(deployment, graph)
        and deployment["metadata"]["name"] not in wanted
        and (deployment["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT) not in services
        and not is_deleting(deployment)
    ]
    return Plan(tuple(Delete(DEPLOYMENTS, found["metadata"]["name"], found["metadata"]["uid"]) for found in stale))


def plan_warnings(graph: Body, plans: Sequence[ServicePlan]) -> Plan:
    """Events about whatever is wrong, told once for each version of the graph's spec."""
    generation = str(graph["metadata"].get("generation", 0))
    return Plan(
        tuple(
            Tell(graph, plan.reason, plan.error or plan.note, generation, warning=plan.reason != PODS_DIFFER)
            for plan in plans
            if plan.reason
        )
    )


def plan_status(graph: Body, around: Around, plans: Sequence[ServicePlan], now: datetime) -> Plan:
    """The graph's status as its services stand."""
    ready = {plan.service: _is_ready(around.deployment(plan.deployment)) for plan in plans}
    errors = [plan.error for plan in plans if plan.error]
    waiting = [plan.note or f"service {plan.service} is not ready" for plan in plans if not plan.error and not ready[plan.service]]
    draft = Draft(GRAPHS, graph, now)
    draft.set(
        observedGeneration=graph["metadata"].get("generation", 0),
        state="failed" if errors else "successful" if plans and not waiting else "pending",
        services={plan.service: _service_status(plan, around) for plan in plans if plan.deployment},
        checkpoints={plan.service: _checkpoint_status(plan) for plan in plans if plan.binding},
    )
    if errors:
        draft.condition(READY, "ServiceFailed", "; ".join(errors), true=False)
    elif waiting or not plans:
        draft.condition(READY, "ServicesNotReady", "; ".join(waiting) or "the graph has no services", true=False)
    else:
        draft.condition(READY, "AllServicesReady", true=True)
    missing = [plan for plan in plans if plan.reason in (Reason.CHECKPOINT_NOT_FOUND, Reason.INVALID_CHECKPOINT)]
    if missing:
        draft.condition(CHECKPOINTS_FOUND, missing[0].reason, "; ".join(plan.error or plan.note for plan in missing), true=False)
    else:
        draft.condition(CHECKPOINTS_FOUND, "CheckpointsFound", true=True)
    return draft.plan()


def plan_platform_status(graph: Body, plans: Sequence[ServicePlan], now: datetime) -> Plan:
    """What the platform's status of a graph lacks: `checkpoints`, of services that it has not bound itself.

    The platform writes that field anew whenever it looks at a graph, empty if it is told nothing of checkpoints. Its entries stay.
    """
    present = (graph.get("status") or {}).get("checkpoints") or {}
    ours = {plan.service: _checkpoint_status(plan) for plan in plans if plan.binding}
    lacking = {service: entry for service, entry in ours.items() if not _is_others(present.get(service) or {}, entry)}
    draft = Draft(GRAPHS, graph, now)
    if lacking:
        draft.set(checkpoints={**present, **lacking})
    return draft.plan()


def _is_others(present: Body, ours: Body) -> bool:
    """The platform has chosen another checkpoint of the wanted identity."""
    same = present.get("identityHash") == ours["identityHash"]
    return same and present.get("checkpointName", "") not in ("", ours["checkpointName"])


def _is_ready(deployment: Body | None) -> bool:
    if deployment is None:
        return False
    status, generation = deployment.get("status") or {}, deployment["metadata"].get("generation", 0)
    seen = status.get("observedGeneration", 0) >= generation
    return bool(seen and status.get("readyReplicas", 0) >= deployment["spec"].get("replicas", 1))


def _service_status(plan: ServicePlan, around: Around) -> Body:
    deployment = around.deployment(plan.deployment) or {}
    status = deployment.get("status") or {}
    return {
        "componentKind": DEPLOYMENTS.kind,
        "componentName": plan.deployment,
        "replicas": status.get("replicas", 0),
        "readyReplicas": status.get("readyReplicas", 0),
    }


def _checkpoint_status(plan: ServicePlan) -> Body:
    binding = plan.binding
    if binding is None:
        return {}
    found = binding.found
    identity_hash = found.hash if found is not None else binding.identity_hash
    return {"checkpointName": binding.name, "identityHash": identity_hash, "ready": binding.ready}
