"""ChrekRetentionPolicies: read, and turned into marks and words."""

from datetime import UTC, datetime, timedelta

import pytest

from chrek_operator.actions import Patch, Tell
from chrek_operator.policies import plan_policy, read_retention
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.retention import Facts

NOW = datetime(2026, 1, 29, 12, tzinfo=UTC)


def policy(**spec):
    metadata = {"name": "p", "uid": "policy", "resourceVersion": "1", "generation": 3}
    return {"apiVersion": "nvidia.com/v1alpha1", "kind": "ChrekRetentionPolicy", "metadata": metadata, "spec": spec}


def checkpoint(name, *, hours, gib=1, **metadata):
    at = f"{NOW - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    return read_checkpoint(
        {
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": f"v-{name}", **metadata},
            "spec": {"identity": {"model": "m", "backendFramework": "vllm"}},
            "status": {
                "phase": "Ready",
                "createdAt": at,
                "artifact": {"generation": "g", "bytes": gib << 30, "capturedAt": at},
            },
        }
    )


OLD, NEW = checkpoint("old", hours=48), checkpoint("new", hours=1)


def marks(plan):
    return {
        action.name: action.patch["metadata"] for action in plan.actions if isinstance(action, Patch) and action.subresource == ""
    }


def status(plan):
    return next(action.patch["status"] for action in plan.actions if isinstance(action, Patch) and action.subresource)


def test_what_goes_is_marked_with_a_grace_and_told_with_the_reason():
    plan = plan_policy(policy(keepLast=1, gracePeriod="30m"), [OLD, NEW], Facts(), NOW)
    assert list(marks(plan)) == ["old"]
    mark = marks(plan)["old"]
    assert mark["resourceVersion"] == "v-old"
    assert mark["annotations"][names.ANNOTATION_DELETE_AFTER] == "2026-01-29T12:30:00Z"
    told = [action for action in plan.actions if isinstance(action, Tell)]
    assert [(each.about["metadata"]["uid"], each.reason) for each in told] == [("old", "CheckpointEvicted")]
    assert told[0].message.startswith("policy p: not among the latest 1; deleted at 2026-01-29T12:30:00Z")
    assert status(plan)["marked"] == 1
    assert plan.recheck


def test_a_dry_run_marks_nothing_and_says_what_would_go():
    plan = plan_policy(policy(maxBytes="1Gi", dryRun=True), [OLD, NEW], Facts(), NOW)
    assert marks(plan) == {}
    said = status(plan)
    assert (said["matched"], said["dryRun"]) == (1, True)
    assert said["candidates"] == [{"name": "old", "reason": "over 1Gi", "bytes": 1 << 30}]


def test_the_low_watermark_is_what_is_left():
    three = [checkpoint(name, hours=hours) for name, hours in (("a", 3), ("b", 2), ("c", 1))]
    assert set(marks(plan_policy(policy(maxBytes="2Gi", lowBytes="1073741824"), three, Facts(), NOW))) == {"a", "b"}
    assert marks(plan_policy(policy(maxBytes="3Gi", lowBytes="1Gi"), three, Facts(), NOW)) == {}


@pytest.mark.parametrize(
    ("metadata", "facts"),
    [
        ({"annotations": {names.ANNOTATION_PIN: "true"}}, Facts()),
        ({}, Facts(referenced={"old": ("dgd/g/w",)})),
        ({}, Facts(leased={"old": "agent"})),
        ({"annotations": {names.ANNOTATION_DELETE_AFTER: "2026-01-29T12:59:00Z"}}, Facts()),
    ],
)
def test_what_is_needed_or_marked_already_is_left_alone(metadata, facts):
    old = checkpoint("old", hours=48, **metadata)
    assert marks(plan_policy(policy(keepLast=1), [old, NEW], facts, NOW)) == {}


def test_when_nothing_changes_nothing_is_written():
    body = policy(keepLast=5)
    first = plan_policy(body, [OLD, NEW], Facts(), NOW)
    body["status"] = status(first)
    assert plan_policy(body, [OLD, NEW], Facts(), NOW + timedelta(minutes=5)).actions == ()


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({}, "spec: nothing would ever go"),
        ({"dryRun": True}, "give at least one of maxBytes"),
        ({"maxBytes": "many"}, "spec.maxBytes: invalid quantity 'many'"),
        ({"maxBytes": "1Gi", "lowBytes": "2Gi"}, "spec.lowBytes: must not be above spec.maxBytes"),
        ({"olderThan": "soon"}, "spec.olderThan: invalid duration 'soon'"),
    ],
)
def test_a_policy_that_makes_no_sense_does_nothing_and_says_why(spec, why):
    with pytest.raises(UsageError):
        read_retention(policy(**spec))
    plan = plan_policy(policy(**spec), [OLD, NEW], Facts(), NOW)
    assert marks(plan) == {}
    (condition,) = status(plan)["conditions"]
    assert (condition["type"], condition["status"]) == ("Valid", "False")
    assert why in condition["message"]


@pytest.mark.parametrize(("text", "number"), [("1Gi", 1 << 30), (5, 5), ("1.5k", 1500), ("2T", 2 * 10**12)])
def test_quantities_as_kubernetes_has_them(text, number):
    assert read_retention(policy(maxBytes=text)).policy.max_bytes == number
