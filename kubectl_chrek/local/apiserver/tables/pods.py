"""The table of pods."""

from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.tables.durations import age
from kubectl_chrek.local.apiserver.tables.layout import NONE, Layout, columns, created, name


def _pod_row(body: Body) -> list[Any]:
    statuses = dig(body, "status", "containerStatuses") or []
    ready = sum(1 for status in statuses if status.get("ready") and "running" in (status.get("state") or {}))
    ip = dig(body, "status", "podIP") or NONE
    node = dig(body, "spec", "nodeName") or NONE
    nominated = dig(body, "status", "nominatedNodeName") or NONE
    total = f"{ready}/{len(body['spec']['containers'])}"
    return [name(body), total, _status(body), _restarts(body), created(body), ip, node, nominated, _gates(body)]


def _status(body: Body) -> str:
    status = body.get("status") or {}
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    initializing = _initializing(body)
    reason = initializing or _container_reason(status.get("containerStatuses") or [], reason, _condition(status, "Ready"))
    if body["metadata"].get("deletionTimestamp") and status.get("phase") not in ("Succeeded", "Failed"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _initializing(body: Body) -> str:
    """What the first unfinished init container does, empty if there is none."""
    statuses = dig(body, "status", "initContainerStatuses") or []
    for index, status in enumerate(statuses):
        state = status.get("state") or {}
        ended = state.get("terminated")
        if ended and ended.get("exitCode") == 0:
            continue
        if ended:
            return f"Init:{_ending(ended)}"
        waiting = dig(state, "waiting", "reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(body['spec'].get('initContainers') or statuses)}"
    return ""


def _container_reason(statuses: list[Body], reason: str, ready: bool) -> str:
    running = False
    for status in reversed(statuses):
        state = status.get("state") or {}
        if dig(state, "waiting", "reason"):
            reason = state["waiting"]["reason"]
        elif "terminated" in state:
            reason = _ending(state["terminated"])
        elif status.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if ready else "NotReady"
    return reason


def _ending(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(body: Body) -> str:
    statuses = dig(body, "status", "containerStatuses") or []
    count = sum(status.get("restartCount", 0) for status in statuses)
    last = max((dig(status, "lastState", "terminated", "finishedAt") or "" for status in statuses), default="")
    return f"{count} ({age(last)} ago)" if count and last else str(count)


def _gates(body: Body) -> str:
    gates = body["spec"].get("readinessGates") or []
    met = sum(1 for gate in gates if _condition(body.get("status") or {}, gate["conditionType"]))
    return f"{met}/{len(gates)}" if gates else NONE


def _condition(status: Mapping[str, Any], wanted: str) -> bool:
    return any(item.get("type") == wanted and item.get("status") == "True" for item in status.get("conditions") or [])


PODS: Final[Mapping[str, Layout]] = {
    "pods": Layout(columns("Name|Ready|Status|Restarts|Age", "IP|Node|Nominated Node|Readiness Gates"), _pod_row),
}
