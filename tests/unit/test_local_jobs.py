"""The Job controller's plan."""

import pytest

from kubectl_chrek.local.clock import timestamp
from kubectl_chrek.local.controllers import jobs
from kubectl_chrek.local.controllers.actions import Create, Delete, Emit, Patch

NOW = 1_800_000_000.0


def job(status=None, **spec):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": spec.pop("policy", "Never"), "containers": []}}
    body = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template} | spec
    metadata = {"name": "j", "namespace": "n", "uid": "job"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": body, "status": status or {}}


def pod(uid, phase="Running", *, deleted=False, restarts=0):
    metadata = {"name": uid, "namespace": "n", "uid": uid} | ({"deletionTimestamp": "x"} if deleted else {})
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"restartCount": restarts}]}}


def tally_of(*pods, now=NOW):
    tally = jobs.Tally()
    for one in pods:
        tally.see(one, now)
    return tally


def plan(found, *pods, tally=None, now=NOW, base=10.0):
    return jobs.plan(found, pods, tally or tally_of(*pods, now=now), now, base)


def kinds(actions, kind):
    return [action for action in actions if isinstance(action, kind)]


def status_of(actions):
    (patch,) = kinds(actions, Patch)
    return patch.patch["status"]


def conditions(actions):
    return [one["type"] for one in status_of(actions).get("conditions", ())]


def test_a_new_job_gets_a_pod_that_it_owns():
    found = plan(job())
    (create,) = kinds(found.actions, Create)
    metadata = create.body["metadata"]
    assert metadata["labels"] == {
        "a": "b",
        "job-name": "j",
        "controller-uid": "job",
        "batch.kubernetes.io/job-name": "j",
        "batch.kubernetes.io/controller-uid": "job",
    }
    assert metadata["ownerReferences"][0] | {"uid": "job", "controller": True} == metadata["ownerReferences"][0]
    assert status_of(found.actions) | {"active": 1, "startTime": timestamp(NOW)} == status_of(found.actions)


def test_a_job_with_its_pod_needs_nothing_more():
    assert kinds(plan(job(), pod("a")).actions, Create) == []


@pytest.mark.parametrize(("failures", "delay"), [(0, 0), (1, 10), (2, 20), (3, 40), (20, 600)])
def test_the_delay_between_attempts_doubles(failures, delay):
    assert jobs.delay(10.0, failures) == delay


def test_a_failed_pod_is_replaced_after_the_delay_and_not_before():
    tally = tally_of(pod("a", "Failed"))
    early = plan(job(), pod("a", "Failed"), tally=tally, now=NOW + 4)
    assert kinds(early.actions, Create) == []
    assert early.after == pytest.approx(6)
    assert len(kinds(plan(job(), pod("a", "Failed"), tally=tally, now=NOW + 10).actions, Create)) == 1


def test_one_failure_too_many_fails_the_job():
    pods = [pod("a", "Failed"), pod("b", "Failed")]
    found = plan(job(backoffLimit=1), *pods)
    assert conditions(found.actions) == ["FailureTarget", "Failed"]
    assert status_of(found.actions)["failed"] == 2
    (emit,) = kinds(found.actions, Emit)
    assert (emit.type, emit.reason) == ("Warning", "BackoffLimitExceeded")


def test_restarts_in_place_count_too():
    found = plan(job(policy="OnFailure", backoffLimit=2), pod("a", restarts=2))
    assert [one.object["metadata"]["uid"] for one in kinds(found.actions, Delete)] == ["a"]
    assert conditions(found.actions) == ["FailureTarget"]


def test_the_deadline_deletes_the_pods_and_then_fails_the_job():
    late = job({"startTime": timestamp(NOW - 60)}, activeDeadlineSeconds=60)
    first = plan(late, pod("a"))
    assert len(kinds(first.actions, Delete)) == 1
    assert conditions(first.actions) == ["FailureTarget"]
    late["status"]["conditions"] = status_of(first.actions)["conditions"]
    waiting = plan(late, pod("a", deleted=True))
    assert conditions(waiting.actions) in ([], ["FailureTarget"])
    last = plan(late, tally=tally_of(pod("a", deleted=True)))
    assert conditions(last.actions) == ["FailureTarget", "Failed"]
    assert status_of(last.actions)["conditions"][1]["reason"] == "DeadlineExceeded"


def test_a_job_looks_again_when_its_deadline_comes():
    found = plan(job({"startTime": timestamp(NOW - 20)}, activeDeadlineSeconds=60), pod("a"))
    assert found.after == pytest.approx(40)


def test_success_completes_the_job():
    found = plan(job(), pod("a", "Succeeded"))
    assert conditions(found.actions) == ["SuccessCriteriaMet", "Complete"]
    assert status_of(found.actions) | {"succeeded": 1, "completionTime": timestamp(NOW)} == status_of(found.actions)
    assert [one.reason for one in kinds(found.actions, Emit)] == ["Completed"]


def test_parallelism_and_completions():
    found = plan(job(parallelism=2, completions=3), pod("a", "Succeeded"), pod("b"))
    assert len(kinds(found.actions, Create)) == 1
    found = plan(job(parallelism=1, completions=3), pod("a"), pod("b"))
    assert len(kinds(found.actions, Delete)) == 1


def test_a_finished_job_is_deleted_after_its_time_to_live():
    done = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": timestamp(NOW - 100)}]}
    assert plan(job(done)).actions == ()
    assert plan(job(done, ttlSecondsAfterFinished=130)).after == pytest.approx(30)
    assert len(kinds(plan(job(done, ttlSecondsAfterFinished=100)).actions, Delete)) == 1


def test_a_pod_counts_once_even_if_it_is_deleted_later():
    tally = tally_of(pod("a", "Failed"), pod("a", "Failed"))
    tally.see(pod("a", "Failed"), NOW, deleted=True)
    tally.see(pod("b", "Running"), NOW)
    assert (tally.failed, tally.succeeded) == (1, 0)
    tally.see(pod("b", "Running"), NOW, deleted=True)
    assert tally.failed == 2


def test_a_job_that_is_met_again_remembers_what_its_status_says():
    tally = jobs.Tally.resume(job({"failed": 2}), [pod("c", "Failed")])
    assert tally.failed == 2


def test_nothing_is_written_when_nothing_changed():
    steady = job(status_of(plan(job()).actions))
    assert plan(steady, pod("a")).actions == ()


def test_a_suspended_job_is_left_alone_and_an_indexed_one_refused():
    assert plan(job(suspend=True)).actions == ()
    (emit,) = plan(job(completionMode="Indexed")).actions
    assert emit.type == "Warning"
