"""What to do about one DynamoCheckpoint: Pending -> Creating -> Ready or Failed. Pure: from what is seen to a plan."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from chrek_operator import deletion, expiry, outcome
from chrek_operator.actions import Create, Delete, Ensure, Patch, Plan
from chrek_operator.binding import choose, usable
from chrek_operator.draft import Draft
from chrek_operator.expiry import sooner
from chrek_operator.jobs import job_body
from chrek_operator.objects import controlled_by, is_deleting, is_managed, status_condition, timestamp
from chrek_operator.settings import Settings
from chrek_operator.shim import shim_config_map
from chrek_operator.trouble import describe_pods
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, IdentityError, UsageError
from kubectl_chrek.api.names import Condition, Phase, Reason
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, JOBS

Body = dict[str, Any]

ON_LOSS: Final = "OnLoss"
"""Value of `spec.recreatePolicy`."""
RECREATE_AFTER_SECONDS: Final = 600.0
"""An artifact that is lost sooner than this after it became Ready is not captured anew: something is wrong with the store."""
RETRIED: Final = "nvidia.com/chrek-retried"
"""Annotation with the last value of the retry annotation that was acted upon."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint and what belongs to it, as just read."""

    body: Body
    now: datetime
    job: Body | None = None
    """Whatever Job has the name of this checkpoint's Job."""
    pods: tuple[Body, ...] = ()
    """Pods that carry this checkpoint's name as sources."""
    lease: Body | None = None
    """The Lease of its hash."""
    same: tuple[Body, ...] | None = None
    """All checkpoints of its identity, itself among them; None: nobody has looked."""
    needed_by: str | None = None
    """Why it must not be deleted although its time has come, empty if it may; None: nobody has looked."""


def plan_checkpoint(seen: Seen, settings: Settings) -> Plan:
    """The next step of a checkpoint."""
    try:
        checkpoint = read_checkpoint(seen.body)
        identity_hash = checkpoint.hash
        _ = checkpoint.job
    except (IdentityError, ValidationError) as error:
        return _invalid(seen, error, settings)
    if checkpoint.metadata.deletion_timestamp is not None:
        return deletion.plan_deletion(seen.body, checkpoint, own_job(seen), seen.pods, seen.lease, seen.now, settings)
    claim = _claim(seen.body, checkpoint)
    if claim is not None:
        return Plan((claim,), recheck=0)
    draft = Draft(CHECKPOINTS, seen.body, seen.now)
    draft.set(identityHash=identity_hash)
    _compare_name(draft, checkpoint)
    _compare_others(seen, draft, checkpoint)
    due = expiry.next_step(seen.body, checkpoint, seen.needed_by, seen.now)
    if any(isinstance(action, Delete) for action in due.actions):
        return due
    plan = _step(seen, checkpoint, draft, settings)
    return Plan((*due.actions, *plan.actions), sooner(plan.recheck, due.recheck))


def _step(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    return _STEPS.get(checkpoint.status.phase, _begin)(seen, checkpoint, draft, settings)


def plan_refused(seen: Seen, error: ChrekError, settings: Settings) -> Plan:
    """The API server would not have the Job: for good when it calls it invalid, else for now."""
    draft = Draft(CHECKPOINTS, seen.body, seen.now)
    if isinstance(error, UsageError):
        return outcome.fail(draft, Reason.INVALID_JOB, outcome.words(error))
    message = f"the Job cannot be created: {outcome.words(error)}"
    draft.set(message=message)
    draft.condition(Condition.JOB_CREATED, Reason.JOB_REFUSED, message, true=False)
    return draft.plan(recheck=settings.poll)


def own_job(seen: Seen) -> Body | None:
    """The Job, if it is this checkpoint's, and of our making."""
    return seen.job if seen.job is not None and controlled_by(seen.job, seen.body) and is_managed(seen.job) else None


def _invalid(seen: Seen, error: ChrekError | ValidationError, settings: Settings) -> Plan:
    """Such an object got past no CRD schema; it has no hash, so nothing can have been captured for it."""
    if is_deleting(seen.body):
        checkpoint = read_checkpoint(seen.body)
        return deletion.plan_deletion(seen.body, checkpoint, own_job(seen), seen.pods, None, seen.now, settings)
    draft = Draft(CHECKPOINTS, seen.body, seen.now)
    message = outcome.flaws(error) if isinstance(error, ValidationError) else outcome.words(error)
    if (seen.body.get("status") or {}).get("phase") == Phase.FAILED:
        return Plan()
    return outcome.fail(draft, Reason.INVALID_CHECKPOINT, message)


def _claim(body: Body, checkpoint: Checkpoint) -> Patch | None:
    """Our finalizer and the label that lookups by identity use, before anything is made that has to be cleaned up."""
    metadata = checkpoint.metadata
    patch: Body = {}
    if names.FINALIZER not in metadata.finalizers:
        patch["finalizers"] = [*metadata.finalizers, names.FINALIZER]
    if metadata.labels.get(names.LABEL_HASH) != checkpoint.hash:
        patch["labels"] = {names.LABEL_HASH: checkpoint.hash}
    retry = metadata.annotations.get(names.ANNOTATION_RETRY, "")
    if checkpoint.status.phase != Phase.FAILED and retry != metadata.annotations.get(RETRIED, ""):
        patch["annotations"] = {RETRIED: retry or None}
    if not patch:
        return None
    return Patch(CHECKPOINTS, metadata.name, {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"], **patch}})


def _compare_name(draft: Draft, checkpoint: Checkpoint) -> None:
    name = checkpoint.metadata.name
    if name == checkpoint.hash:
        draft.condition(Condition.NAME_IS_HASH, Reason.NAME_MATCHES, true=True)
        return
    message = f"the identity's hash is {checkpoint.hash}, not {name}: checkpointRef takes {name}, lookups by identity the hash"
    if draft.condition(Condition.NAME_IS_HASH, Reason.NAME_DIFFERS, message, true=False):
        draft.tell(Reason.NAME_DIFFERS, message, warning=True)


def _compare_others(seen: Seen, draft: Draft, checkpoint: Checkpoint) -> None:
    """Whom lookups by identity take, where several checkpoints have the same."""
    if seen.same is None:
        return
    owner = choose(checkpoint.hash, usable(seen.same))
    if owner is None or owner.metadata.name == checkpoint.metadata.name:
        draft.condition(Condition.IDENTITY_UNIQUE, Reason.IDENTITY_UNIQUE, true=True)
        return
    other = owner.metadata.name
    message = f"DynamoCheckpoint {other} has this identity: lookups by identity take that one, this one is reached by its name"
    if draft.condition(Condition.IDENTITY_UNIQUE, Reason.IDENTITY_SHARED, message, true=False):
        draft.tell(Reason.IDENTITY_SHARED, message, warning=True)


def _begin(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    draft.set(phase=Phase.PENDING)
    return draft.plan(recheck=0)


def _pending(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    if checkpoint.status.artifact is not None:
        return _become_ready(seen, checkpoint, draft, settings)
    if names.ANNOTATION_ADOPT in checkpoint.metadata.annotations and checkpoint.status.created_at is None:
        return _awaiting(checkpoint, draft)
    if seen.job is None:
        return _make_job(seen, checkpoint, draft, settings)
    name = seen.job["metadata"]["name"]
    if is_deleting(seen.job):
        draft.set(message=f"waiting for the deletion of the former Job {name}")
        return draft.plan(recheck=settings.poll)
    if own_job(seen) is None:
        message = f"Job {name} exists and is not this checkpoint's: delete it, or give the checkpoint another name"
        if controlled_by(seen.job, seen.body):
            message = (
                f"Job {name} was made by another operator: switch off the Dynamo platform's own checkpoints, and delete the Job"
            )
        draft.set(message=message)
        if draft.condition(Condition.JOB_CREATED, Reason.JOB_REFUSED, message, true=False):
            draft.tell(Reason.JOB_REFUSED, message, warning=True)
        return draft.plan(recheck=settings.poll)
    _job_made(draft, name)
    return draft.plan(recheck=0)


def _make_job(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    try:
        job = job_body(seen.body, checkpoint, settings)
    except UsageError as error:
        return outcome.fail(draft, Reason.INVALID_JOB, outcome.words(error))
    _job_made(draft, job["metadata"]["name"])
    return draft.plan(Ensure(CONFIG_MAPS, shim_config_map()), Create(JOBS, job), recheck=settings.poll)


def _awaiting(checkpoint: Checkpoint, draft: Draft) -> Plan:
    """Nothing is captured: its artifact was made elsewhere, and an agent is asked to adopt it."""
    failure = checkpoint.status.failure
    if failure:
        return outcome.fail(draft, Reason.ARTIFACT_CORRUPT, f"the imported artifact was not adopted: {failure}", kind=None)
    draft.set(message="waiting for an agent to verify the imported artifact")
    return draft.plan()


def _job_made(draft: Draft, name: str) -> None:
    draft.set(phase=Phase.CREATING, jobName=name, message=f"waiting for a pod of Job {name}")
    draft.condition(Condition.JOB_CREATED, Reason.JOB_CREATED, true=True)
    draft.condition(Condition.JOB_COMPLETED, Reason.JOB_RUNNING, true=False)


def _creating(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    if checkpoint.status.artifact is not None:
        return _become_ready(seen, checkpoint, draft, settings)
    job = own_job(seen)
    if job is None or is_deleting(job):
        message = f"Job {names.job_name(checkpoint.metadata.name)} was deleted; it is created anew"
        draft.set(phase=Phase.PENDING, message=message)
        draft.condition(Condition.JOB_CREATED, Reason.JOB_DELETED, message, true=False)
        return draft.plan(recheck=0)
    failed = status_condition(job, "Failed")
    if failed is not None:
        return outcome.job_failed(draft, checkpoint, job, failed, seen.pods)
    complete = status_condition(job, "Complete")
    if complete is not None:
        return _completed(seen, draft, complete, settings)
    state = describe_pods(seen.pods)
    if state:
        draft.condition(Condition.JOB_COMPLETED, Reason.JOB_RUNNING, state, true=False)
        failure = checkpoint.status.failure
        draft.set(message=f"{state}; the last attempt failed: {failure}" if failure else state)
    return draft.plan(recheck=settings.poll)


def _completed(seen: Seen, draft: Draft, complete: Body, settings: Settings) -> Plan:
    """The worker has ended well, so the agent has released it, or nobody ever held it."""
    ended = datetime.fromisoformat(complete["lastTransitionTime"])
    left = (ended + timedelta(seconds=settings.grace) - seen.now).total_seconds()
    if left <= 0:
        return outcome.no_artifact(draft, seen.pods)
    draft.condition(Condition.JOB_COMPLETED, Reason.JOB_SUCCEEDED, true=True)
    draft.set(message="the Job has succeeded; waiting for its artifact")
    return draft.plan(recheck=left)


def _become_ready(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    artifact = checkpoint.status.artifact
    assert artifact is not None  # noqa: S101 - both callers have looked
    draft.set(
        phase=Phase.READY,
        createdAt=timestamp(seen.now),
        location=names.location(settings.base_path, checkpoint.hash),
        storageType=settings.storage_type,
        message=None,
    )
    message = f"generation {artifact.generation}, {artifact.bytes} bytes in {artifact.files} files"
    draft.condition(Condition.ARTIFACT_AVAILABLE, Reason.ARTIFACT_VERIFIED, message, true=True)
    outcome.follow_job(draft, own_job(seen))
    draft.tell(Reason.CHECKPOINT_READY, f"ready: {message}")
    return draft.plan()


def _ready(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    if checkpoint.status.artifact is None:
        return _lost(seen, checkpoint, draft)
    outcome.follow_job(draft, own_job(seen))
    return draft.plan()


def _lost(seen: Seen, checkpoint: Checkpoint, draft: Draft) -> Plan:
    """The artifact is gone: the end, or a new beginning if the user wants that and it does not happen all the time."""
    ready_since = checkpoint.status.created_at
    lasted = ready_since is not None and (seen.now - ready_since).total_seconds() >= RECREATE_AFTER_SECONDS
    if checkpoint.spec.get("recreatePolicy") != ON_LOSS or not lasted:
        return outcome.artifact_lost(draft, checkpoint)
    message = f"the artifact was lost, and is captured anew: {outcome.withdraw(draft, checkpoint)}"
    draft.tell(Reason.RECREATED, message, warning=True)
    return _anew(seen, draft, message)


def _failed(seen: Seen, checkpoint: Checkpoint, draft: Draft, settings: Settings) -> Plan:
    annotations = checkpoint.metadata.annotations
    retry = annotations.get(names.ANNOTATION_RETRY, "")
    if not retry or retry == annotations.get(RETRIED, ""):
        return draft.plan()
    return _anew(seen, draft, f"trying again, as annotation {names.ANNOTATION_RETRY} asks")


def _anew(seen: Seen, draft: Draft, message: str) -> Plan:
    """Back to Pending, without what is left of the last try."""
    draft.set(phase=Phase.PENDING, message=message, failure=None, progress=None)
    draft.condition(Condition.JOB_CREATED, Reason.JOB_DELETED, message, true=False)
    job = own_job(seen)
    if job is None or is_deleting(job):
        return draft.plan(recheck=0)
    return draft.plan(Delete(JOBS, job["metadata"]["name"], job["metadata"]["uid"]), recheck=0)


_STEPS: Final = {Phase.PENDING: _pending, Phase.CREATING: _creating, Phase.READY: _ready, Phase.FAILED: _failed}
