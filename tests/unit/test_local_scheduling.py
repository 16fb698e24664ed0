"""The scheduler's plan and the arithmetic of quantities."""

from decimal import Decimal

import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.local import quantity
from kubectl_chrek.local.controllers import scheduling
from kubectl_chrek.local.controllers.actions import Bind, Emit, Patch

NOW = 1_800_000_000.0


def node(name="local", *, ready="True", labels=None, allocatable=None, **spec):
    status = {
        "conditions": [{"type": "Ready", "status": ready}],
        "allocatable": allocatable or {"cpu": "4", "memory": "8Gi", "pods": "9"},
    }
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": status}


def pod(uid="p", limits=None, node_name="", phase="Pending", **spec):
    container = {"name": "c", "resources": {"limits": limits or {}}}
    spec = {"containers": [container]} | ({"nodeName": node_name} if node_name else {}) | spec
    return {"metadata": {"name": uid, "namespace": "n", "uid": uid}, "spec": spec, "status": {"phase": phase}}


def message(found, *nodes, others=()):
    plan = scheduling.plan(found, nodes, others, NOW)
    emit = next(action for action in plan.actions if isinstance(action, Emit))
    return emit.message


def test_a_pod_goes_to_a_node_that_has_room():
    bind, emit = scheduling.plan(pod(), [node("b"), node("a")], [], NOW).actions
    assert bind == Bind(bind.pod, "a")
    assert (emit.reason, emit.message) == ("Scheduled", "Successfully assigned n/p to a")


@pytest.mark.parametrize(
    ("found", "where", "expected"),
    [
        (pod(limits={"nvidia.com/gpu": "1"}), node(), "1 Insufficient nvidia.com/gpu"),
        (pod(limits={"cpu": "5"}), node(), "1 Insufficient cpu"),
        (pod(nodeSelector={"disk": "fast"}), node(labels={"disk": "slow"}), "1 node(s) didn't match Pod's node affinity/selector"),
        (pod(), node(ready="False"), "1 node(s) were not ready"),
        (pod(), node(unschedulable=True), "1 node(s) were unschedulable"),
        (pod(), node(taints=[{"key": "gpu", "effect": "NoSchedule"}]), "1 node(s) had untolerated taint {gpu: }"),
    ],
)
def test_what_keeps_a_pod_is_said(found, where, expected):
    assert message(found, where) == f"0/1 nodes are available: {expected}."


def test_a_toleration_opens_the_node():
    tolerant = pod(tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert message(tolerant, node(taints=[{"key": "gpu", "effect": "NoSchedule"}])).startswith("Successfully assigned")


def test_what_other_pods_hold_is_not_free_until_they_end():
    gpu = {"nvidia.com/gpu": "1"}
    where = node(allocatable=gpu)
    holder = pod("other", gpu, "local", "Running")
    assert "Insufficient" in message(pod(limits=gpu), where, others=[holder])
    assert "Successfully" in message(pod(limits=gpu), where, others=[pod("other", gpu, "local", "Succeeded")])


def test_the_refusal_is_a_condition_and_is_said_once():
    held = pod(limits={"nvidia.com/gpu": "1"})
    patch = next(one for one in scheduling.plan(held, [node()], [], NOW).actions if isinstance(one, Patch))
    (condition,) = patch.patch["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    held["status"]["conditions"] = [condition]
    assert scheduling.plan(held, [node()], [], NOW).actions == ()


@pytest.mark.parametrize("spec", [{"schedulerName": "mine"}, {"schedulingGates": [{"name": "g"}]}, {"node_name": "x"}])
def test_pods_of_others_are_left_alone(spec):
    assert scheduling.plan(pod(**spec), [node()], [], NOW).actions == ()


@pytest.mark.parametrize(
    ("text", "value"), [("500m", "0.5"), ("2Gi", 2 * 1024**3), ("1k", 1000), ("1e3", 1000), (3, 3), ("1.5", "1.5")]
)
def test_quantities(text, value):
    assert quantity.parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "1x", "Gi"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(UsageError, match="is not a quantity"):
        quantity.parse(text)


def test_an_init_container_needs_no_more_than_the_largest():
    found = pod(limits={"cpu": "1"})
    found["spec"]["initContainers"] = [{"resources": {"requests": {"cpu": "3"}}}, {"resources": {"requests": {"cpu": "2"}}}]
    assert quantity.requests(found) == {"cpu": Decimal(3)}
