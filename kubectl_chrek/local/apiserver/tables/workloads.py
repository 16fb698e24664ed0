"""The tables of Jobs, Deployments and their like."""

from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.tables.durations import age, between
from kubectl_chrek.local.apiserver.tables.layout import NONE, Layout, columns, created, images, joined, name, selection

_WIDE: Final = "Containers|Images|Selector"
_JOB_STATES: Final = {"Complete": "Complete", "Failed": "Failed", "FailureTarget": "FailureTarget", "Suspended": "Suspended"}


def _job_row(body: Body) -> list[Any]:
    status = body.get("status") or {}
    done, wanted = status.get("succeeded", 0), body["spec"].get("completions")
    parallel = body["spec"].get("parallelism", 1)
    completions = f"{done}/{wanted}" if wanted is not None else f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    duration = between(status.get("startTime"), status.get("completionTime"))
    return [name(body), _job_state(body), completions, duration, created(body), *_wide(body)]


def _job_state(body: Body) -> str:
    true = {item["type"] for item in dig(body, "status", "conditions") or [] if item.get("status") == "True"}
    for condition, state in _JOB_STATES.items():
        if condition in true:
            return state
    return "Terminating" if body["metadata"].get("deletionTimestamp") else "Running"


def _cron_job_row(body: Body) -> list[Any]:
    spec, status = body["spec"], body.get("status") or {}
    last = age(status["lastScheduleTime"]) if status.get("lastScheduleTime") else NONE
    suspended = str(bool(spec.get("suspend"))).capitalize()
    zone = spec.get("timeZone") or NONE
    names, pictures = images(spec, "jobTemplate", "spec", "template")
    cells = [name(body), spec["schedule"], zone, suspended, len(status.get("active") or []), last, created(body)]
    return [*cells, names, pictures, NONE]


def _deployment_row(body: Body) -> list[Any]:
    status, wanted = body.get("status") or {}, body["spec"].get("replicas", 1)
    ready = f"{status.get('readyReplicas', 0)}/{wanted}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [name(body), ready, *counts, created(body), *_wide(body)]


def _replica_set_row(body: Body) -> list[Any]:
    status = body.get("status") or {}
    counts = [body["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(body), *counts, created(body), *_wide(body)]


def _stateful_set_row(body: Body) -> list[Any]:
    ready = f"{dig(body, 'status', 'readyReplicas') or 0}/{body['spec'].get('replicas', 1)}"
    return [name(body), ready, created(body), *images(body, "spec", "template")]


def _daemon_set_row(body: Body) -> list[Any]:
    status = body.get("status") or {}
    keys = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
    nodes = joined(dig(body, "spec", "template", "spec", "nodeSelector"))
    return [name(body), *(status.get(key, 0) for key in keys), nodes, created(body), *_wide(body)]


def _wide(body: Body) -> list[Any]:
    return [*images(body, "spec", "template"), selection(dig(body, "spec", "selector"))]


WORKLOADS: Final[Mapping[str, Layout]] = {
    "jobs.batch": Layout(columns("Name|Status|Completions|Duration|Age", _WIDE), _job_row),
    "cronjobs.batch": Layout(columns("Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age", _WIDE), _cron_job_row),
    "deployments.apps": Layout(columns("Name|Ready|Up-to-date|Available|Age", _WIDE), _deployment_row),
    "replicasets.apps": Layout(columns("Name|Desired|Current|Ready|Age", _WIDE), _replica_set_row),
    "statefulsets.apps": Layout(columns("Name|Ready|Age", "Containers|Images"), _stateful_set_row),
    "daemonsets.apps": Layout(columns("Name|Desired|Current|Ready|Up-to-date|Available|Node Selector|Age", _WIDE), _daemon_set_row),
}
