"""What to do about one service whose pods the Dynamo platform makes. Pure: from what is seen to a plan.

Its checkpoint is made from one of its pods, so nothing is created before there is one. Pods that wait for their checkpoint carry
a scheduling gate, which the webhook put there and which is lifted here: they hold no GPU that the capture may need.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from chrek_operator.actions import Patch, Plan
from chrek_operator.binding import awaited, bind, read_block, usable
from chrek_operator.capturing import pods_of, source_template
from chrek_operator.objects import is_deleting
from chrek_operator.outcome import words
from chrek_operator.services import Around, ServicePlan, create_checkpoint
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint
from kubectl_chrek.api.names import Reason
from kubectl_chrek.cluster.resources import PODS

PODS_DIFFER: Final = "PodsDiffer"
"""Reason of an Event: usual while a graph's change is being rolled out."""

Body = dict[str, Any]


def plan_platform_service(graph: Body, service: str, around: Around) -> ServicePlan:
    """The next step of one service; whatever is wrong with its checkpoint, its pods start, if cold."""
    plan, held = ServicePlan(service), False
    pods = pods_of(around.pods, service)
    try:
        block = read_block(graph, service)
        if block is not None:
            held = _bind(graph, plan, block, around, pods)
    except UsageError as error:
        plan.fail(Reason.INVALID_CHECKPOINT, words(error))
    plan.actions += () if held else release(pods).actions
    return plan


def release(pods: Iterable[Body]) -> Plan:
    """Lifts our gate from those of the pods that have it."""
    return Plan(tuple(_lift(pod) for pod in pods if is_held(pod) and not is_deleting(pod)))


def is_held(pod: Mapping[str, Any]) -> bool:
    """The pod waits for its checkpoint."""
    gates = (pod.get("spec") or {}).get("schedulingGates") or ()
    return any(gate.get("name") == names.SCHEDULING_GATE for gate in gates)


def _bind(graph: Body, plan: ServicePlan, block: ServiceCheckpoint, around: Around, pods: list[Body]) -> bool:
    """Finds the service's checkpoint, or creates it; whether its pods are to wait. Raises UsageError."""
    binding = plan.binding = bind(block, usable(around.checkpoints), None)
    if binding.found is None and block.ref:
        message = f"service {block.service}: DynamoCheckpoint {block.ref} does not exist; its pods start cold until it is Ready"
        plan.reason, plan.note = Reason.CHECKPOINT_NOT_FOUND, message
    if binding.found is None and block.identity is not None and block.creates:
        template = source_template(graph, block.service, pods)
        if template is None:
            plan.needs_pod = True
            if pods:
                message = "no pod has the image, arguments and variables of the graph"
                plan.reason = PODS_DIFFER
                plan.note = f"service {block.service}: {message}: its DynamoCheckpoint is made from the first that has"
            return False
        create_checkpoint(graph, plan, block.identity, around, template)
    return awaited(block, binding)


def _lift(pod: Body) -> Patch:
    metadata = pod["metadata"]
    left = [gate for gate in pod["spec"]["schedulingGates"] if gate["name"] != names.SCHEDULING_GATE]
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": {"schedulingGates": left or None}}
    return Patch(PODS, metadata["name"], patch)
