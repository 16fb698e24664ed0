"""A checkpoint on its way out: the Job at once, the finalizer when no artifact can be left."""

import pytest

from chrek_operator.actions import Delete
from kubectl_chrek.api import names


@pytest.fixture
def deleting(creating):
    creating.checkpoint["metadata"]["deletionTimestamp"] = "2026-01-29T10:05:00Z"
    return creating


def finalizers(world):
    return world.checkpoint["metadata"]["finalizers"]


def test_the_job_goes_at_once_and_then_the_finalizer(deleting):
    plan = deleting.step()
    assert [type(action) for action in plan.actions] == [Delete]
    assert finalizers(deleting) == [names.FINALIZER]
    deleting.step()
    assert finalizers(deleting) == []


def test_other_finalizers_stay(deleting):
    deleting.checkpoint["metadata"]["finalizers"].append("example.com/other")
    deleting.settle()
    assert finalizers(deleting) == ["example.com/other"]


def test_a_pod_of_the_job_may_still_write(deleting, make_pod):
    deleting.pods = [make_pod({"running": {}})]
    plan = deleting.settle()
    assert plan.recheck == deleting.settings.poll
    assert finalizers(deleting) == [names.FINALIZER]


def test_a_held_lease_is_waited_for_until_it_runs_out(deleting):
    deleting.lease = {
        "spec": {"holderIdentity": "chrek-agent-a", "renewTime": "2026-01-29T10:05:00.000000Z", "leaseDurationSeconds": 30}
    }
    deleting.settle()
    assert finalizers(deleting) == [names.FINALIZER]
    deleting.later(31)
    deleting.settle()
    assert finalizers(deleting) == []


def test_an_artifact_is_the_agents_to_delete(ready):
    ready.checkpoint["metadata"]["deletionTimestamp"] = "2026-01-29T10:05:00Z"
    ready.settle()
    assert ready.job is None
    assert finalizers(ready) == [names.FINALIZER]
    assert ready.status["message"] == "waiting for an agent to delete the artifact"
    assert ready.plan().actions == ()


def test_a_lost_artifact_is_the_agents_too(ready):
    ready.checkpoint["status"].pop("artifact")
    ready.checkpoint["metadata"]["deletionTimestamp"] = "2026-01-29T10:05:00Z"
    ready.settle()
    assert finalizers(ready) == [names.FINALIZER]


def test_a_foreign_job_is_not_deleted(deleting):
    deleting.job["metadata"]["ownerReferences"] = []
    deleting.settle()
    assert deleting.job is not None
    assert finalizers(deleting) == []


def test_an_invalid_checkpoint_can_be_deleted(make_world):
    world = make_world(identity={"model": "m", "backendFramework": "tgi"})
    world.checkpoint["metadata"] |= {"finalizers": [names.FINALIZER], "deletionTimestamp": "2026-01-29T10:05:00Z"}
    world.settle()
    assert finalizers(world) == []


def test_an_artifact_that_is_to_be_retained_needs_no_agent(ready):
    ready.checkpoint["metadata"]["deletionTimestamp"] = "2026-01-29T10:05:00Z"
    ready.settle()
    assert finalizers(ready) == [names.FINALIZER]
    ready.checkpoint["spec"]["deletionPolicy"] = "Retain"
    ready.settle()
    assert finalizers(ready) == []
