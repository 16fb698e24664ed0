"""The state machine of a DynamoCheckpoint, step by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chrek_operator.actions import Create, Delete
from chrek_operator.checkpoints import Seen, plan_refused
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ClusterError, UsageError
from kubectl_chrek.cluster.resources import JOBS

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}


def test_a_new_checkpoint_gets_its_finalizer_and_label_before_anything_is_made(world):
    plan = world.step()
    assert world.checkpoint["metadata"]["finalizers"] == [names.FINALIZER]
    assert world.checkpoint["metadata"]["labels"] == {names.LABEL_HASH: HASH}
    assert world.job is None
    assert plan.recheck == 0


def test_it_is_pending_with_its_hash_and_then_creating_with_a_job(world):
    world.step()
    world.step()
    assert world.status["phase"] == "Pending"
    assert world.status["identityHash"] == HASH
    world.step()
    assert world.status["phase"] == "Creating"
    assert world.status["jobName"] == f"checkpoint-{HASH}"
    assert world.condition("JobCreated") == ("True", "JobCreated")
    assert world.job["metadata"]["name"] == f"checkpoint-{HASH}"


def test_the_job_is_as_the_seed_says(creating):
    job = creating.job
    assert job["metadata"]["labels"][names.LABEL_SOURCE] == "true"
    assert job["metadata"]["labels"][names.LABEL_NAME] == HASH
    owner = job["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DynamoCheckpoint", "cr-uid", True)
    spec = job["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (600, 3, 300)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_job_stays_long_enough_for_its_end_to_be_seen(make_world):
    world = make_world(ttlSecondsAfterFinished=0)
    world.settle()
    assert world.job["spec"]["ttlSecondsAfterFinished"] == 60


def test_nothing_is_written_when_nothing_changes(creating):
    assert creating.plan().actions == ()


def test_ready_is_the_artifact_and_not_the_job(creating):
    creating.write_artifact()
    creating.settle()
    status = creating.status
    assert status["phase"] == "Ready"
    assert status["location"] == f"/checkpoints/{HASH}"
    assert status["storageType"] == "pvc"
    assert status["createdAt"] == "2026-01-29T10:05:00Z"
    assert "message" not in status
    assert creating.condition("TarAvailable") == ("True", "ArtifactVerified")
    assert creating.condition("JobCompleted") == ("False", "JobRunning")
    assert [event.reason for event in creating.events] == ["CheckpointReady"]
    creating.finish_job("Complete")
    creating.settle()
    assert creating.condition("JobCompleted") == ("True", "JobSucceeded")


def test_a_ready_checkpoint_does_not_miss_its_job(ready):
    ready.job = None
    assert ready.plan().actions == ()


def test_one_failed_pod_is_not_a_failed_checkpoint(creating, make_pod):
    creating.job["status"] = {"failed": 1, "active": 1}
    creating.pods = [make_pod({"terminated": {"exitCode": 3, "reason": "Error"}})]
    creating.settle()
    assert creating.status["phase"] == "Creating"
    assert creating.status["message"] == "container main of pod p-1 exited with code 3 (Error)"


def test_a_job_that_failed_for_good_says_what_the_agent_said(creating):
    creating.checkpoint["status"]["failure"] = "criu dump: out of disk"
    creating.finish_job("Failed", "BackoffLimitExceeded", failed=4)
    creating.settle()
    assert creating.status["phase"] == "Failed"
    assert creating.status["message"] == "the Job failed after 4 attempts: criu dump: out of disk"
    assert creating.condition("JobCompleted") == ("False", "JobFailed")
    assert [event.reason for event in creating.events] == ["CheckpointFailed"]


def test_a_job_that_failed_for_good_says_the_exit_code(creating, make_pod):
    creating.pods = [make_pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})]
    creating.finish_job("Failed", "BackoffLimitExceeded", failed=1)
    creating.settle()
    assert (
        creating.status["message"] == "the Job failed after 1 attempt: container main of pod p-1 exited with code 137 (OOMKilled)"
    )


def test_past_the_deadline_the_last_trouble_is_told_though_the_pod_is_gone(creating, make_pod):
    creating.pods = [make_pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})]
    creating.settle()
    assert creating.status["phase"] == "Creating"
    assert "ImagePullBackOff" in creating.status["message"]
    creating.pods = []
    creating.finish_job("Failed", "DeadlineExceeded")
    creating.settle()
    assert creating.condition("JobCompleted") == ("False", "DeadlineExceeded")
    expected = "the worker did not become ready within 600 s: container main of pod p-1 waits: ImagePullBackOff: no such image"
    assert creating.status["message"] == expected


def test_past_the_deadline_a_ready_worker_asks_for_its_agent(creating, make_pod):
    creating.pods = [make_pod({"running": {}}, ready=True)]
    creating.settle()
    creating.finish_job("Failed", "DeadlineExceeded")
    creating.settle()
    assert creating.status["message"].startswith("the worker became ready, but was not captured within 600 s: is an agent running")


def test_a_worker_that_cannot_be_scheduled_is_told_while_creating(creating, make_pod):
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have nvidia.com/gpu"}
    creating.pods = [make_pod(conditions=[why])]
    creating.settle()
    assert creating.status["phase"] == "Creating"
    assert creating.status["message"] == "pod p-1 cannot be scheduled: 0/3 nodes have nvidia.com/gpu"


def test_success_without_an_artifact_is_given_grace_and_then_fails(creating, make_pod):
    creating.pods = [make_pod({"terminated": {"exitCode": 0}})]
    creating.finish_job("Complete")
    plan = creating.settle()
    assert creating.status["phase"] == "Creating"
    assert plan.recheck == 30
    creating.later(31)
    creating.settle()
    assert creating.status["phase"] == "Failed"
    assert creating.status["message"] == "Job succeeded but no artifact was written: is an agent running on node node-a?"


def test_an_artifact_within_the_grace_makes_it_ready(creating):
    creating.finish_job("Complete")
    creating.settle()
    creating.write_artifact()
    creating.settle()
    assert creating.status["phase"] == "Ready"


def test_a_job_deleted_by_hand_is_made_anew(creating):
    creating.job = None
    creating.step()
    assert creating.status["phase"] == "Pending"
    assert creating.condition("JobCreated") == ("False", "JobDeleted")
    creating.settle()
    assert creating.status["phase"] == "Creating"
    assert creating.job is not None


def test_a_foreign_job_of_the_same_name_is_left_alone(world):
    world.job = {"metadata": {"name": f"checkpoint-{HASH}", "uid": "other"}}
    plan = world.settle()
    assert world.status["phase"] == "Pending"
    assert "is not this checkpoint's" in world.status["message"]
    assert world.condition("JobCreated") == ("False", "JobRefused")
    assert plan.recheck == world.settings.poll
    world.job = None
    world.settle()
    assert world.status["phase"] == "Creating"


def test_a_job_of_the_platforms_own_controller_is_no_source_of_ours(creating):
    creating.job["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    creating.settle()
    assert creating.status["phase"] == "Pending"
    assert "switch off the Dynamo platform's own checkpoints" in creating.status["message"]
    assert creating.condition("JobCreated") == ("False", "JobRefused")


def test_our_own_job_is_adopted_when_the_status_was_not_written(world):
    world.settle()
    world.checkpoint["status"]["phase"] = "Pending"
    world.settle()
    assert world.status["phase"] == "Creating"


def test_a_name_too_long_for_a_job_fails_and_says_the_limit(make_world):
    world = make_world(name="x" * 53)
    world.settle()
    assert world.status["phase"] == "Failed"
    assert "64 characters, more than 63 (name the DynamoCheckpoint with at most 52 characters)" in world.status["message"]
    assert world.job is None


def test_a_name_that_is_not_the_hash_is_legal_and_told_once(make_world):
    world = make_world(name="e5962d34ba272638")
    world.settle()
    assert world.status["phase"] == "Creating"
    assert world.status["identityHash"] == HASH
    assert world.condition("NameIsHash") == ("False", "NameDiffersFromIdentity")
    assert world.job["metadata"]["name"] == "checkpoint-e5962d34ba272638"
    assert [(event.reason, event.warning) for event in world.events] == [("NameDiffersFromIdentity", True)]
    assert HASH in world.events[0].message


def test_a_name_that_is_the_hash_says_so(creating):
    assert creating.condition("NameIsHash") == ("True", "NameMatchesIdentity")
    assert creating.events == []


def test_the_hash_is_recomputed_whatever_the_status_says(ready):
    ready.checkpoint["status"]["identityHash"] = "0000000000000000"
    ready.settle()
    assert ready.status["identityHash"] == HASH


def test_an_invalid_identity_fails_with_the_reason(make_world):
    world = make_world(identity={"model": "m", "backendFramework": "tgi"})
    world.settle()
    assert world.status["phase"] == "Failed"
    assert world.status["message"].startswith("spec.identity.backendFramework: unknown framework 'tgi'")
    assert world.plan().actions == ()


def test_what_is_wrong_with_a_job_is_told_without_what_was_written_there(make_world):
    world = make_world(podTemplateSpec="hf_secret", backoffLimit="hf_other")
    world.settle()
    assert world.status["phase"] == "Failed"
    assert "hf_" not in str([world.status, [event.message for event in world.events]])
    assert world.status["message"] == (
        "spec.job.podTemplateSpec: Input should be a valid dictionary; "
        "spec.job.backoffLimit: Input should be a valid integer, unable to parse string as an integer"
    )


def test_what_a_template_says_is_in_no_status_and_no_event(make_world, make_pod):
    worker = {"name": "main", "image": "i", "command": ["serve", "--key=hf_arg"], "env": [{"name": "HF_TOKEN", "value": "hf_env"}]}
    world = make_world(podTemplateSpec={"spec": {"containers": [worker]}})
    world.settle()
    world.pods = [make_pod({"waiting": {"reason": "CreateContainerConfigError", "message": "secret s has no key k"}})]
    world.settle()
    assert "secret s has no key k" in world.status["message"]
    world.finish_job("Failed", "BackoffLimitExceeded", failed=4)
    world.settle()
    assert world.status["phase"] == "Failed"
    assert "hf_" not in str([world.status, [event.message for event in world.events]])


def test_a_template_without_a_command_fails_with_the_reason(make_world):
    world = make_world(podTemplateSpec={"spec": {"containers": [{"name": "main", "image": "x"}]}})
    world.settle()
    assert world.status["phase"] == "Failed"
    assert "give command: the image's own entrypoint cannot be wrapped" in world.status["message"]
    assert world.condition("JobCreated") == ("False", "InvalidJob")


def refused(world, error):
    world.step()
    world.step()
    assert any(isinstance(action, Create) and action.resource is JOBS for action in world.plan().actions)
    return plan_refused(Seen(world.checkpoint, world.now), error, world.settings)


def test_a_job_the_server_calls_invalid_fails_with_its_words(world):
    plan = refused(world, UsageError("Error from server (Invalid): Job.batch is invalid: bad volume"))
    assert plan.actions[-1].patch["status"]["phase"] == "Failed"
    assert plan.actions[-1].patch["status"]["message"].endswith("bad volume")


def test_a_job_the_server_forbids_stays_pending_and_says_so(world):
    plan = refused(world, ClusterError("Error from server (Forbidden): exceeded quota", status=403))
    assert "phase" not in plan.actions[0].patch["status"]
    assert "exceeded quota" in plan.actions[0].patch["status"]["message"]
    assert plan.recheck == world.settings.poll


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("", "ArtifactMissing"),
        ("images/pages-1.img: digest differs", "ArtifactCorrupt"),
        ("ArtifactMissing: no manifest.json", "ArtifactMissing"),
    ],
)
def test_a_lost_artifact_ends_ready(ready, failure, reason):
    ready.checkpoint["status"].pop("artifact")
    ready.checkpoint["status"]["failure"] = failure
    ready.settle()
    assert ready.status["phase"] == "Failed"
    assert ready.condition("TarAvailable") == ("False", reason)
    assert ready.status["message"] == (failure or "the artifact is gone")
    assert ready.events[-1].reason == "CheckpointFailed"


@pytest.fixture
def failed(creating):
    creating.checkpoint["status"]["failure"] = "criu dump failed"
    creating.finish_job("Failed", "BackoffLimitExceeded", failed=1)
    creating.settle()
    return creating


def test_failed_is_the_end(failed):
    failed.job = None
    assert failed.plan().actions == ()


def test_a_new_retry_annotation_starts_anew_once(failed):
    failed.checkpoint["metadata"]["annotations"] = {names.ANNOTATION_RETRY: "1"}
    plan = failed.step()
    assert isinstance(plan.actions[0], Delete)
    assert failed.status["phase"] == "Pending"
    assert "failure" not in failed.status
    failed.settle()
    assert failed.status["phase"] == "Creating"
    failed.finish_job("Failed", "BackoffLimitExceeded", failed=1)
    failed.settle()
    assert failed.status["phase"] == "Failed"
    assert failed.plan().actions == ()
    failed.checkpoint["metadata"]["annotations"].pop(names.ANNOTATION_RETRY)
    assert failed.plan().actions == ()


def test_two_checkpoints_of_one_identity_get_two_jobs(make_world):
    first, second = make_world(), make_world(name="again")
    first.settle()
    second.settle()
    assert first.status["identityHash"] == second.status["identityHash"]
    assert first.job["metadata"]["name"] != second.job["metadata"]["name"]


@given(
    phase=st.sampled_from(["", "Pending", "Creating", "Ready", "Failed"]),
    job=st.sampled_from(["none", "running", "complete", "failed", "foreign", "deleting"]),
    artifact=st.booleans(),
    retry=st.booleans(),
)
def test_every_state_comes_to_rest_and_ready_always_has_an_artifact(make_world, phase, job, artifact, retry):
    world = make_world()
    world.settle()
    world.checkpoint["status"]["phase"] = phase
    match job:
        case "none":
            world.job = None
        case "complete" | "failed":
            world.finish_job(job.capitalize())
        case "foreign":
            world.job["metadata"]["ownerReferences"] = []
        case "deleting":
            world.job["metadata"]["deletionTimestamp"] = "2026-01-29T10:05:00Z"
    if artifact:
        world.write_artifact()
    if retry:
        world.checkpoint["metadata"]["annotations"] = {names.ANNOTATION_RETRY: "now"}
    world.settle()
    assert world.status["phase"] != "Ready" or artifact
    assert world.status["identityHash"] == HASH
    assert world.plan().actions == ()


def another(name, created, phase="Ready"):
    metadata = {"name": name, "creationTimestamp": created}
    job = {"podTemplateSpec": {}}
    return {"metadata": metadata, "spec": {"identity": IDENTITY, "job": job}, "status": {"phase": phase}}


def test_a_second_one_of_an_identity_says_whose_it_is(make_world):
    world = make_world(name="second")
    world.checkpoint["metadata"]["creationTimestamp"] = "2026-01-29T10:05:00Z"
    first = another("first", "2026-01-29T10:00:00Z")
    world.same = (first, world.checkpoint)
    world.settle()
    assert world.condition("IdentityUnique") == ("False", "IdentityOwnedByAnother")
    assert "DynamoCheckpoint first has this identity" in world.events[-1].message
    assert world.status["phase"] == "Creating"
    first["status"]["phase"] = "Failed"
    world.settle()
    assert world.condition("IdentityUnique") == ("True", "OnlyOneOfItsIdentity")


def lose(ready):
    ready.checkpoint["status"].pop("artifact")
    ready.checkpoint["status"]["failure"] = "ArtifactMissing: no manifest.json"


def test_a_lost_artifact_is_captured_anew_if_the_user_wants_that(ready):
    ready.checkpoint["spec"]["recreatePolicy"] = "OnLoss"
    ready.later(3600)
    ready.finish_job("Complete")
    lose(ready)
    ready.settle()
    assert ready.status["phase"] == "Creating"
    assert ready.condition("TarAvailable") == ("False", "ArtifactMissing")
    assert "no manifest.json" in next(event.message for event in ready.events if event.reason == "CheckpointRecreated")
    ready.write_artifact()
    ready.settle()
    assert ready.status["phase"] == "Ready"


def test_an_artifact_that_is_lost_at_once_again_is_the_end(ready):
    ready.checkpoint["spec"]["recreatePolicy"] = "OnLoss"
    ready.later(60)
    lose(ready)
    ready.settle()
    assert ready.status["phase"] == "Failed"


def mark(world, due):
    world.checkpoint["metadata"]["annotations"] = {names.ANNOTATION_DELETE_AFTER: due}


def test_a_marked_checkpoint_is_deleted_when_its_time_has_come(ready):
    mark(ready, "2026-01-29T11:05:00Z")
    assert ready.settle().recheck == 3600
    ready.later(3601)
    ready.needed_by = ""
    plan = ready.step()
    assert [type(action).__name__ for action in plan.actions] == ["Tell", "Delete"]
    assert plan.actions[1].uid == "cr-uid"


def test_a_marked_checkpoint_that_is_needed_stays_and_says_so(ready):
    mark(ready, "2026-01-29T09:00:00Z")
    ready.needed_by = "pinned"
    plan = ready.step()
    assert plan.recheck == 60
    assert [event.reason for event in ready.events][-1] == "CheckpointKept"
    assert not any(isinstance(action, Delete) for action in plan.actions)


def test_a_mark_that_is_no_time_is_told_and_ignored(creating):
    mark(creating, "soon")
    creating.write_artifact()
    creating.settle()
    assert creating.status["phase"] == "Ready"
    assert any("is no time such as" in event.message for event in creating.events)
