"""The plans of Deployments and ReplicaSets."""

import pytest

from kubectl_chrek.local.clock import timestamp
from kubectl_chrek.local.controllers import deployments, replicasets
from kubectl_chrek.local.controllers.actions import Create, Delete, Patch

NOW = 1_800_000_000.0
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def deployment(replicas=1, template=TEMPLATE, status=None, **spec):
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template} | spec
    metadata = {"name": "web", "namespace": "n", "uid": "d", "generation": 3}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": body, "status": status or {}}


def replica_set(image, replicas, available, revision=1):
    labels = {"app": "web", deployments.HASH: image}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    metadata = {"name": image, "namespace": "n", "uid": image, "annotations": {deployments.REVISION: str(revision)}}
    counts = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": metadata, "spec": {"replicas": replicas, "template": template}, "status": counts}


def kinds(actions, kind):
    return [action for action in actions if isinstance(action, kind)]


def sizes(plan):
    return {
        one.object["metadata"]["name"]: one.patch["spec"]["replicas"] for one in kinds(plan.actions, Patch) if "spec" in one.patch
    }


def status_of(plan):
    return next(one.patch["status"] for one in kinds(plan.actions, Patch) if one.subresource)


def condition(plan, kind):
    return next(one for one in status_of(plan)["conditions"] if one["type"] == kind)


def test_a_new_deployment_gets_a_replica_set_named_by_its_template():
    (create,) = kinds(deployments.plan(deployment(2), [], NOW).actions, Create)
    label = create.body["metadata"]["labels"][deployments.HASH]
    assert create.body["metadata"]["name"] == f"web-{label}"
    assert create.body["spec"]["selector"]["matchLabels"] == {"app": "web", deployments.HASH: label}
    assert create.body["spec"]["template"]["metadata"]["labels"] == {"app": "web", deployments.HASH: label}
    assert create.body["spec"]["replicas"] == 2


def test_its_own_replica_set_is_recognised_and_scaled():
    assert sizes(deployments.plan(deployment(3), [replica_set("i", 1, 1)], NOW)) == {"i": 3}
    assert sizes(deployments.plan(deployment(0), [replica_set("i", 1, 1)], NOW)) == {"i": 0}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((1, 1), (0, 0), {"i": 1}),  # one more than wanted may run
        ((1, 1), (1, 0), {}),  # the old one stays until the new one serves
        ((1, 1), (1, 1), {"old": 0}),
        ((1, 0), (1, 1), {"old": 0}),
    ],
)
def test_one_replica_is_replaced_without_a_gap(old, new, expected):
    found = [replica_set("old", *old), replica_set("i", *new, revision=2)]
    assert sizes(deployments.plan(deployment(1), found, NOW)) == expected


def test_several_replicas_move_step_by_step():
    steps = []
    old, new = 4, 0
    while (old, new) != (0, 4) and len(steps) < 20:
        changed = sizes(deployments.plan(deployment(4), [replica_set("old", old, old), replica_set("i", new, new, 2)], NOW))
        old, new = changed.get("old", old), changed.get("i", new)
        steps.append((old, new))
    assert steps[-1] == (0, 4)
    assert all(3 <= sum(step) <= 5 for step in steps)


def test_recreate_starts_the_new_ones_when_the_old_ones_are_gone():
    body = deployment(2, strategy={"type": "Recreate"})
    assert sizes(deployments.plan(body, [replica_set("old", 2, 2), replica_set("i", 0, 0, 2)], NOW)) == {"old": 0}
    assert sizes(deployments.plan(body, [replica_set("old", 0, 0), replica_set("i", 0, 0, 2)], NOW)) == {"i": 2}


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [("25%", "25%", 4, (1, 1)), ("25%", "25%", 1, (1, 0)), (0, 0, 3, (0, 1)), (2, "50%", 3, (2, 1))],
)
def test_surge_rounds_up_and_unavailability_down(surge, unavailable, replicas, expected):
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    assert deployments.limits(deployment(replicas, strategy=rolling)) == expected


def test_conditions_of_a_finished_rollout():
    plan = deployments.plan(deployment(1), [replica_set("i", 1, 1)], NOW)
    assert status_of(plan) | {"observedGeneration": 3, "updatedReplicas": 1, "availableReplicas": 1} == status_of(plan)
    assert condition(plan, "Available")["status"] == "True"
    assert condition(plan, "Progressing")["reason"] == "NewReplicaSetAvailable"
    done = deployment(1, status=status_of(plan))
    assert deployments.plan(done, [replica_set("i", 1, 1)], NOW + 5).actions == ()


def test_a_rollout_that_stands_still_misses_its_deadline():
    first = deployments.plan(deployment(1), [replica_set("i", 1, 0)], NOW)
    assert condition(first, "Available")["status"] == "False"
    assert condition(first, "Progressing")["status"] == "True"
    waiting = deployment(1, status=status_of(first), progressDeadlineSeconds=30)
    early = deployments.plan(waiting, [replica_set("i", 1, 0)], NOW + 10)
    assert early.after == pytest.approx(20)
    late = deployments.plan(waiting, [replica_set("i", 1, 0)], NOW + 31)
    assert condition(late, "Progressing")["reason"] == "ProgressDeadlineExceeded"


def test_history_is_kept_up_to_its_limit():
    old = [replica_set(f"old{number}", 0, 0, number) for number in range(1, 4)]
    plan = deployments.plan(deployment(1, revisionHistoryLimit=1), [replica_set("i", 1, 1, 9), *old], NOW)
    assert [one.object["metadata"]["name"] for one in kinds(plan.actions, Delete)] == ["old1", "old2"]


# -- ReplicaSets -------------------------------------------------------------------------------------------------------------------


def pod(name, *, ready=True, phase="Running", node="local", created=0, since=0.0):
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": timestamp(NOW - since)}]
    metadata = {"name": name, "namespace": "n", "uid": name, "creationTimestamp": timestamp(NOW + created)}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase, "conditions": conditions}}


def owner(replicas, **spec):
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet"} | {
        "metadata": {"name": "rs", "namespace": "n", "uid": "rs"},
        "spec": {"replicas": replicas, "template": TEMPLATE} | spec,
    }


def test_missing_pods_are_created_and_ended_ones_replaced():
    plan = replicasets.plan(owner(3), [pod("a"), pod("b", phase="Failed")], NOW)
    assert len(kinds(plan.actions, Create)) == 2


def test_surplus_pods_go_in_the_order_of_their_use():
    pods = [pod("old"), pod("young", created=5), pod("sick", ready=False), pod("homeless", node="", ready=False)]
    plan = replicasets.plan(owner(1), pods, NOW)
    assert [one.object["metadata"]["name"] for one in kinds(plan.actions, Delete)] == ["homeless", "sick", "young"]


def test_availability_waits_for_the_minimum_time():
    plan = replicasets.plan(owner(2, minReadySeconds=10), [pod("a", since=4), pod("b", since=20)], NOW)
    assert status_of(plan) | {"readyReplicas": 2, "availableReplicas": 1} == status_of(plan)
    assert plan.after == pytest.approx(6)
