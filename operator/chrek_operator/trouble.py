"""What keeps a Job's pods from being captured, in one line for a person."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

READY: Final = "the worker is ready"
"""How the line begins when nothing is wrong with the pod, and the agent's turn has come."""
_ORDINARY_WAITS: Final = ("", "ContainerCreating", "PodInitializing")

Body = dict[str, Any]


def newest_pod(pods: Sequence[Body]) -> Body | None:
    """The Job's last attempt."""
    return max(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]), default=None)


def describe_pods(pods: Sequence[Body]) -> str:
    """State of the newest pod; empty when there is none."""
    pod = newest_pod(pods)
    return _describe(pod) if pod is not None else ""


def node_of(pods: Sequence[Body]) -> str:
    """Node of the newest pod; empty when it has none."""
    pod = newest_pod(pods)
    return str((pod or {}).get("spec", {}).get("nodeName") or "")


def _describe(pod: Mapping[str, Any]) -> str:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"pod {name} cannot be scheduled: {scheduled.get('message') or scheduled.get('reason') or 'no reason given'}"
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        problem = _container_problem(container)
        if problem:
            return f"container {container['name']} of pod {name} {problem}"
    if status.get("phase") == "Failed":
        return f"pod {name} failed: {status.get('reason') or 'no reason given'}: {status.get('message') or 'no message'}"
    if conditions.get("Ready", {}).get("status") == "True":
        where = (pod.get("spec") or {}).get("nodeName") or "its node"
        return f"{READY}; waiting for the agent on {where} to capture pod {name}"
    unready = next((container["name"] for container in containers if _runs(container) and not container.get("ready")), "")
    return f"container {unready} of pod {name} runs but is not ready yet" if unready else f"pod {name} is being started"


def _container_problem(container: Mapping[str, Any]) -> str:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting.get("reason", "") not in _ORDINARY_WAITS:
        return f"waits: {waiting['reason']}" + (f": {waiting['message']}" if waiting.get("message") else "")
    if ended.get("exitCode"):
        reason = ended.get("reason") or "Error"
        return f"exited with code {ended['exitCode']} ({reason})"
    return ""


def _runs(container: Mapping[str, Any]) -> bool:
    return "running" in (container.get("state") or {})
