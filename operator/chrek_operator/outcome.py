"""How a checkpoint's making ended, and what the user is told of it."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from chrek_operator.actions import Plan
from chrek_operator.draft import Draft
from chrek_operator.objects import status_condition
from chrek_operator.trouble import READY, describe_pods, node_of
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.names import Condition, Phase, Reason

Body = dict[str, Any]

_REASONED: Final = re.compile(rf"({Reason.ARTIFACT_MISSING}|{Reason.ARTIFACT_CORRUPT}): ")


def words(error: ChrekError) -> str:
    """An error as one line: what is wrong, then what to do about it."""
    return f"{error} ({error.hint})" if error.hint else str(error)


def flaws(error: ValidationError) -> str:
    """What is wrong with a `spec.job`: where and why, never what was written there, which may be secret."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(['spec.job', *map(str, flaw['loc'])])}: {flaw['msg']}" for flaw in found)


def fail(draft: Draft, reason: str, message: str, *, kind: str | None = Condition.JOB_CREATED) -> Plan:
    """Phase Failed before any artifact was there; `kind` is the condition of the Job that tells why."""
    draft.set(phase=Phase.FAILED, message=message)
    if kind is not None:
        draft.condition(kind, reason, message, true=False)
    draft.condition(Condition.ARTIFACT_AVAILABLE, Reason.ARTIFACT_MISSING, message, true=False)
    draft.tell(Reason.CHECKPOINT_FAILED, message, warning=True)
    return draft.plan()


def job_failed(draft: Draft, checkpoint: Checkpoint, job: Body, failed: Body, pods: Sequence[Body]) -> Plan:
    """The Job has failed for good: past its deadline, or out of attempts."""
    failure = checkpoint.status.failure
    if failed.get("reason") == Reason.DEADLINE_EXCEEDED:
        # The Job's controller has deleted the running pod: what was last seen of it is kept in the condition.
        last = draft.condition_message(Condition.JOB_COMPLETED) or describe_pods(pods)
        message = _late(last, failure, checkpoint.job.active_deadline_seconds)
        return fail(draft, Reason.DEADLINE_EXCEEDED, message, kind=Condition.JOB_COMPLETED)
    why = failure or describe_pods(pods) or draft.condition_message(Condition.JOB_COMPLETED) or str(failed.get("message", ""))
    attempts = int((job.get("status") or {}).get("failed") or 1)
    message = f"the Job failed after {attempts} attempt{'s' if attempts > 1 else ''}: {why}"
    return fail(draft, Reason.JOB_FAILED, message, kind=Condition.JOB_COMPLETED)


def no_artifact(draft: Draft, pods: Sequence[Body]) -> Plan:
    """The Job succeeded, but nobody captured its worker."""
    node = node_of(pods)
    where = f"node {node}" if node else "its node"
    message = f"Job succeeded but no artifact was written: is an agent running on {where}?"
    draft.condition(Condition.JOB_COMPLETED, Reason.JOB_SUCCEEDED, true=True)
    return fail(draft, Reason.ARTIFACT_MISSING, message, kind=None)


def withdraw(draft: Draft, checkpoint: Checkpoint) -> str:
    """A Ready checkpoint's artifact turned out to be missing or corrupt, and the agent has withdrawn it; returns why."""
    failure = checkpoint.status.failure
    named = _REASONED.match(failure)
    reason = named[1] if named else Reason.ARTIFACT_CORRUPT if failure else Reason.ARTIFACT_MISSING
    message = failure or "the artifact is gone"
    draft.condition(Condition.ARTIFACT_AVAILABLE, reason, message, true=False)
    return message


def artifact_lost(draft: Draft, checkpoint: Checkpoint) -> Plan:
    """That is the end of it."""
    message = withdraw(draft, checkpoint)
    draft.set(phase=Phase.FAILED, message=message)
    draft.tell(Reason.CHECKPOINT_FAILED, message, warning=True)
    return draft.plan()


def follow_job(draft: Draft, job: Body | None) -> None:
    """Condition JobCompleted of a Ready checkpoint; its Job may be gone, after its time to live."""
    if job is None:
        return
    failed = status_condition(job, "Failed")
    if status_condition(job, "Complete") is not None:
        draft.condition(Condition.JOB_COMPLETED, Reason.JOB_SUCCEEDED, true=True)
    elif failed is not None:
        draft.condition(Condition.JOB_COMPLETED, Reason.JOB_FAILED, str(failed.get("message", "")), true=False)
    else:
        draft.condition(Condition.JOB_COMPLETED, Reason.JOB_RUNNING, "captured; the worker is about to leave", true=False)


def _late(last: str, failure: str, seconds: int) -> str:
    if failure:
        return f"no capture was finished within {seconds} s; the last attempt failed: {failure}"
    if last.startswith(READY):
        return f"the worker became ready, but was not captured within {seconds} s: is an agent running on its node? ({last})"
    return f"the worker did not become ready within {seconds} s" + (f": {last}" if last else "")
