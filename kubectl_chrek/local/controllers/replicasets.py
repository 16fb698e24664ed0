"""The ReplicaSet controller's plan. No input or output. It knows its pods by their owner; it adopts none."""

from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_chrek.cluster.resources import PODS, REPLICA_SETS
from kubectl_chrek.local.controllers import pods as about
from kubectl_chrek.local.controllers.actions import Action, Create, Delete, Plan, status_patch

Object = Mapping[str, Any]


def plan(owner: Object, found: Sequence[Object], now: float) -> Plan:
    """What the ReplicaSet needs now."""
    running = [pod for pod in found if about.active(pod)]
    actions: list[Action] = []
    if "deletionTimestamp" not in owner["metadata"]:
        missing = owner["spec"].get("replicas", 1) - len(running)
        actions += [Create(PODS, about.from_template(owner, {}), owner) for _ in range(missing)]
        actions += [Delete(PODS, pod, owner) for pod in _least_wanted(running)[: max(0, -missing)]]
    min_ready = owner["spec"].get("minReadySeconds", 0)
    waits = [wait for pod in running if (wait := about.available_in(pod, min_ready, now)) is not None]
    status = {
        "replicas": len(running),
        "fullyLabeledReplicas": len(running),
        "readyReplicas": len(waits),
        "availableReplicas": sum(wait == 0 for wait in waits),
        "observedGeneration": owner["metadata"].get("generation", 1),
    }
    return Plan((*actions, *status_patch(REPLICA_SETS, owner, status)), min((wait for wait in waits if wait), default=None))


def _least_wanted(running: Sequence[Object]) -> list[Object]:
    """Those without a node first, then those that are not ready, then the youngest."""
    youngest_first = sorted(running, key=lambda pod: pod["metadata"].get("creationTimestamp", ""), reverse=True)
    return sorted(youngest_first, key=lambda pod: (bool(pod["spec"].get("nodeName")), about.holds(pod, "Ready")))
