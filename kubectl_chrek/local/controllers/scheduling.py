"""The scheduler's plan: which node a pending pod goes to, or why to none. No input or output.

It looks at readiness, cordons, nodeSelector, taints and requests. A pod that asks for affinity or spreading is placed as if it
did not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.local import quantity
from kubectl_chrek.local.clock import timestamp
from kubectl_chrek.local.controllers import pods as about
from kubectl_chrek.local.controllers.actions import Bind, Emit, Patch, Plan

Object = Mapping[str, Any]
NAME: Final = "default-scheduler"


def is_pending(pod: Object) -> bool:
    """The pod waits for this scheduler."""
    spec = pod["spec"]
    ours = spec.get("schedulerName", NAME) == NAME and not spec.get("schedulingGates")
    return ours and not spec.get("nodeName") and about.active(pod)


def plan(pod: Object, nodes: Sequence[Object], others: Sequence[Object], now: float) -> Plan:
    """Binds the pod, or says what keeps it; `others` are all pods, this one may be among them."""
    if not is_pending(pod):
        return Plan()
    reasons = {node["metadata"]["name"]: _obstacles(pod, node, others) for node in nodes}
    free = sorted(name for name, found in reasons.items() if not found)
    metadata = pod["metadata"]
    if free:
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {free[0]}"
        return Plan((Bind(pod, free[0]), Emit(pod, "Normal", "Scheduled", message)))
    message = explain(list(reasons.values()))
    if about.condition(pod, "PodScheduled").get("message") == message:
        return Plan()
    return Plan((_unschedulable(pod, message, now), Emit(pod, "Warning", "FailedScheduling", message)))


def explain(reasons: Sequence[Sequence[str]]) -> str:
    """The scheduler's sentence, like `0/1 nodes are available: 1 Insufficient nvidia.com/gpu`, with a full stop."""
    if not reasons:
        return "no nodes available to schedule pods"
    counts = Counter(reason for found in reasons for reason in found)
    parts = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{len(reasons)} nodes are available: {', '.join(parts)}."


def _obstacles(pod: Object, node: Object, others: Sequence[Object]) -> list[str]:
    """Why the pod cannot go to the node; of several kinds of reasons the first one."""
    spec = node.get("spec") or {}
    if spec.get("unschedulable"):
        return ["node(s) were unschedulable"]
    if not about.holds(node, "Ready"):
        return ["node(s) were not ready"]
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return ["node(s) didn't match Pod's node affinity/selector"]
    taint = next((taint for taint in spec.get("taints") or () if not _tolerated(pod, taint)), None)
    if taint:
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    return _lacking(pod, node, others)


def _lacking(pod: Object, node: Object, others: Sequence[Object]) -> list[str]:
    allocatable = {key: quantity.parse(value) for key, value in ((node.get("status") or {}).get("allocatable") or {}).items()}
    name, uid = node["metadata"]["name"], pod["metadata"]["uid"]
    here = [one for one in others if one["spec"].get("nodeName") == name and about.phase(one) not in ("Succeeded", "Failed")]
    here = [one for one in here if one["metadata"]["uid"] != uid]
    if "pods" in allocatable and len(here) + 1 > allocatable["pods"]:
        return ["Too many pods"]
    used = quantity.add(quantity.requests(one) for one in here)
    wanted = quantity.requests(pod)
    zero = Decimal(0)
    short = [key for key, amount in wanted.items() if amount and used.get(key, zero) + amount > allocatable.get(key, zero)]
    return [f"Insufficient {key}" for key in sorted(short) if key != "ephemeral-storage" or key in allocatable]


def _tolerated(pod: Object, taint: Object) -> bool:
    if taint.get("effect") == "PreferNoSchedule":
        return True
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("operator") == "Exists" and toleration.get("key") in (None, "", taint["key"]):
            return True
        if toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def _unschedulable(pod: Object, message: str, now: float) -> Patch:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": None,
        "lastTransitionTime": about.condition(pod, "PodScheduled").get("lastTransitionTime") or timestamp(now),
    }
    others = [one for one in (pod.get("status") or {}).get("conditions") or () if one["type"] != "PodScheduled"]
    return Patch(PODS, pod, {"status": {"conditions": [*others, condition]}}, "status")
