"""The Job controller's plan. No input or output.

Covers parallelism, completions, backoffLimit, activeDeadlineSeconds, ttlSecondsAfterFinished. A suspended Job is left alone, an
Indexed one is refused by an event; podFailurePolicy and successPolicy are not looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubectl_chrek.cluster.resources import JOBS, PODS
from kubectl_chrek.local.clock import seconds, timestamp
from kubectl_chrek.local.controllers import pods as about
from kubectl_chrek.local.controllers.actions import Action, Create, Delete, Emit, Plan, status_patch

Object = Mapping[str, Any]
_LONGEST: Final = 60
"""Limit of the delay between attempts, in units of the first: ten minutes at Kubernetes' ten seconds."""
_BACKOFF: Final = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE: Final = ("DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(slots=True)
class Tally:
    """Pods of one Job that ended, each counted once even if it is deleted later. Fed by `see`."""

    succeeded: int = 0
    failed: int = 0
    last_failure: float = 0.0
    seen: set[str] = field(default_factory=set)

    def see(self, pod: Object, now: float, *, deleted: bool = False) -> None:
        """Counts the pod if it has ended. One that is deleted before that counts as failed, as in Kubernetes."""
        uid, phase = pod["metadata"]["uid"], about.phase(pod)
        if uid in self.seen or not (deleted or phase in ("Succeeded", "Failed") or about.terminating(pod)):
            return
        self.seen.add(uid)
        if phase == "Succeeded":
            self.succeeded += 1
        else:
            self.failed += 1
            self.last_failure = now

    @classmethod
    def resume(cls, job: Object, found: Sequence[Object]) -> "Tally":
        """The tally of a Job that is seen for the first time: its status knows of pods that are gone."""
        tally = cls()
        for pod in found:
            tally.see(pod, 0.0)
        status = job.get("status") or {}
        tally.succeeded = max(tally.succeeded, status.get("succeeded", 0))
        tally.failed = max(tally.failed, status.get("failed", 0))
        return tally


def plan(job: Object, found: Sequence[Object], tally: Tally, now: float, base: float) -> Plan:
    """What the Job needs now; `base` is the delay in seconds before the second attempt."""
    if about.holds(job, "Complete") or about.holds(job, "Failed"):
        return _after_the_end(job, now)
    if "deletionTimestamp" in job["metadata"] or job["spec"].get("suspend"):
        return Plan()
    if job["spec"].get("completionMode") == "Indexed":
        return Plan((Emit(job, "Warning", "UnsupportedCompletionMode", "the one-machine cluster runs no Indexed jobs"),))
    failure = _failure(job, found, tally, now)
    if failure is not None:
        return _finish(job, found, tally, now, ("FailureTarget", "Failed"), failure)
    if _is_complete(job, found, tally):
        return _finish(
            job,
            found,
            tally,
            now,
            ("SuccessCriteriaMet", "Complete"),
            ("CompletionsReached", "Reached expected number of succeeded pods"),
        )
    return _go_on(job, found, tally, now, base)


def delay(base: float, failures: int) -> float:
    """Seconds between the last of so many failures and the next attempt."""
    return base * min(2 ** (failures - 1), _LONGEST) if failures else 0.0


def _go_on(job: Object, found: Sequence[Object], tally: Tally, now: float, base: float) -> Plan:
    """More or fewer pods."""
    running = [pod for pod in found if about.active(pod)]
    wait = tally.last_failure + delay(base, tally.failed) - now if tally.failed else 0.0
    missing = _wanted(job, tally) - len(running)
    created: list[Action] = []
    if missing > 0 and wait <= 0:
        created = [Create(PODS, _pod(job), job) for _ in range(missing)]
    surplus: list[Action] = [Delete(PODS, pod, job) for pod in running[:-missing]] if missing < 0 else []
    left = max(0, len(running) + min(missing, 0))
    status = _status(job, found, tally, now, left + len(created))
    again = [seconds for seconds in (_until_deadline(job, now), wait if missing > 0 and wait > 0 else None) if seconds is not None]
    return Plan((*created, *surplus, *status_patch(JOBS, job, status)), min(again, default=None))


def _finish(job: Object, found: Sequence[Object], tally: Tally, now: float, kinds: tuple[str, str], why: tuple[str, str]) -> Plan:
    """Ends the Job: what still runs is deleted, and only when all pods have ended is the last condition set."""
    target, final = kinds
    before = about.condition(job, target)
    if before:
        why = (before["reason"], before["message"])
    running = [pod for pod in found if about.active(pod)]
    status = _status(job, found, tally, now, 0)
    added = [] if before else [_condition(target, why, now)]
    over = not running and not any(about.terminating(pod) for pod in found)
    emitted: list[Action] = []
    if over:
        added.append(_condition(final, why, now))
        if final == "Complete":
            status["completionTime"] = timestamp(now)
            emitted.append(Emit(job, "Normal", "Completed", "Job completed"))
        else:
            emitted.append(Emit(job, "Warning", *why))
    status["conditions"] = [*((job.get("status") or {}).get("conditions") or ()), *added]
    deleted = [Delete(PODS, pod, job) for pod in running]
    return Plan((*deleted, *status_patch(JOBS, job, status), *emitted))


def _after_the_end(job: Object, now: float) -> Plan:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or "deletionTimestamp" in job["metadata"]:
        return Plan()
    ended = about.condition(job, "Complete") or about.condition(job, "Failed")
    left = seconds(ended["lastTransitionTime"]) + ttl - now
    return Plan((), left) if left > 0 else Plan((Delete(JOBS, job),))


def _failure(job: Object, found: Sequence[Object], tally: Tally, now: float) -> tuple[str, str] | None:
    """Why the Job fails; None when it does not."""
    earlier = about.condition(job, "FailureTarget")
    if earlier:
        return earlier["reason"], earlier["message"]
    limit = job["spec"].get("backoffLimit", 6)
    if tally.failed > limit:
        return _BACKOFF
    if job["spec"]["template"]["spec"].get("restartPolicy") == "OnFailure":
        restarts = sum(about.restarts(pod) for pod in found if about.active(pod))
        if restarts > 0 and restarts >= limit:
            return _BACKOFF
    left = _until_deadline(job, now)
    return _DEADLINE if left is not None and left <= 0 else None


def _until_deadline(job: Object, now: float) -> float | None:
    limit, start = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if limit is None:
        return None
    return seconds(start) + limit - now if start else float(limit)


def _is_complete(job: Object, found: Sequence[Object], tally: Tally) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:
        return tally.succeeded > 0 and not any(about.active(pod) for pod in found)
    return tally.succeeded >= int(completions)


def _wanted(job: Object, tally: Tally) -> int:
    """How many pods are to run at once."""
    parallelism, completions = job["spec"].get("parallelism", 1), job["spec"].get("completions")
    if completions is None:
        # Without a number, the first success means that no new work is begun.
        return 0 if tally.succeeded else int(parallelism)
    return min(int(parallelism), int(completions) - tally.succeeded)


def _status(job: Object, found: Sequence[Object], tally: Tally, now: float, running: int) -> dict[str, Any]:
    before = job.get("status") or {}
    status: dict[str, Any] = {
        "active": running,
        "ready": sum(about.active(pod) and about.holds(pod, "Ready") for pod in found) if running else 0,
        "terminating": sum(about.terminating(pod) for pod in found),
        "startTime": before.get("startTime") or timestamp(now),
    }
    counts = {"succeeded": tally.succeeded, "failed": tally.failed}
    return status | {key: value for key, value in counts.items() if value or key in before}


def _condition(kind: str, why: tuple[str, str], now: float) -> dict[str, Any]:
    moment = timestamp(now)
    return {
        "type": kind,
        "status": "True",
        "reason": why[0],
        "message": why[1],
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
    }


def _pod(job: Object) -> dict[str, Any]:
    metadata = job["metadata"]
    labels = {
        "batch.kubernetes.io/controller-uid": metadata["uid"],
        "batch.kubernetes.io/job-name": metadata["name"],
        "controller-uid": metadata["uid"],
        "job-name": metadata["name"],
    }
    return about.from_template(job, labels)
