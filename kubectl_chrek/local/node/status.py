"""A pod's status, computed from the states of its containers. No input or output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubectl_chrek.local.clock import timestamp

State = dict[str, Any]
_OWN_CONDITIONS: Final = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(slots=True)
class View:
    """What is known about one container; its loop writes it, `compute` reads it."""

    name: str
    image: str
    id: str = ""
    state: State = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last_state: State = field(default_factory=dict)
    restarts: int = 0
    started: bool = False
    ready: bool = False

    @property
    def running(self) -> bool:
        """Its process runs."""
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """How its last run ended; None while it runs, or when it never did."""
        if self.running:
            return None
        ended = self.state.get("terminated") or self.last_state.get("terminated")
        return None if ended is None else int(ended["exitCode"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a status says beside the containers."""

    now: float
    started: float
    host_ip: str
    pod_ip: str = ""
    sandbox: bool = False
    """The pod has its network."""
    initialized: bool = False
    deleting: bool = False
    failure: tuple[str, str] | None = None
    """Reason and message when the whole pod failed, whatever its containers say."""


def phase(policy: str, initialized: bool, inits: Sequence[View], views: Sequence[View], *, deleting: bool) -> str:
    """The pod's phase."""
    if not initialized:
        failed = any(view.exit_code not in (None, 0) and "terminated" in view.state for view in inits)
        return "Failed" if failed and (policy == "Never" or deleting) else "Pending"
    if any(view.running for view in views):
        return "Running"
    codes = [view.exit_code for view in views]
    if any(code is None for code in codes):
        return "Pending"
    failed = any(codes)
    if deleting or policy == "Never":
        return "Failed" if failed else "Succeeded"
    return "Succeeded" if policy == "OnFailure" and not failed else "Running"


def compute(pod: Mapping[str, Any], inits: Sequence[View], views: Sequence[View], facts: Facts) -> dict[str, Any]:
    """The status to write; conditions that others set stay as they are."""
    policy = pod["spec"].get("restartPolicy", "Always")
    now = phase(policy, facts.initialized, inits, views, deleting=facts.deleting)
    status: dict[str, Any] = {
        "phase": "Failed" if facts.failure else now,
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": timestamp(facts.started),
        "containerStatuses": [_container(view) for view in views],
        "observedGeneration": pod["metadata"].get("generation", 1),
    }
    if inits:
        status["initContainerStatuses"] = [_container(view) for view in inits]
    if facts.pod_ip:
        status |= {"podIP": facts.pod_ip, "podIPs": [{"ip": facts.pod_ip}]}
    if facts.failure:
        status |= {"reason": facts.failure[0], "message": facts.failure[1]}
    status["conditions"] = _conditions(pod, status["phase"], views, facts)
    return status


def _container(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "image": view.image,
        "imageID": f"{view.image}@sha256:{'0' * 64}" if view.id else "",
        "containerID": f"containerd://{view.id}" if view.id else "",
        "state": view.state,
        "lastState": view.last_state,
        "restartCount": view.restarts,
        "started": view.started and view.running,
        "ready": view.ready,
    }


def _conditions(pod: Mapping[str, Any], now_phase: str, views: Sequence[View], facts: Facts) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in (pod.get("status") or {}).get("conditions") or ()}
    over = now_phase in ("Succeeded", "Failed")
    unready = [view.name for view in views if not view.ready]
    all_ready = bool(views) and not unready and not over
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    gates_open = all(before.get(gate, {}).get("status") == "True" for gate in gates)
    reason = "PodCompleted" if now_phase == "Succeeded" else "PodFailed" if now_phase == "Failed" else "ContainersNotReady"
    message = "" if over else f"containers with unready status: [{' '.join(unready)}]"
    unready_why = ("", "") if all_ready else (reason, message)
    own = {
        "PodReadyToStartContainers": (facts.sandbox and not over, "", ""),
        "Initialized": (facts.initialized, "" if facts.initialized else "ContainersNotInitialized", ""),
        "Ready": (all_ready and gates_open, *(unready_why if not all_ready or gates_open else ("ReadinessGatesNotReady", ""))),
        "ContainersReady": (all_ready, *unready_why),
        "PodScheduled": (True, "", ""),
    }
    found = [_condition(kind, before.get(kind), *own[kind], facts.now) for kind in _OWN_CONDITIONS]
    return found + [condition for kind, condition in before.items() if kind not in _OWN_CONDITIONS]


def _condition(kind: str, before: Mapping[str, Any] | None, holds: bool, reason: str, message: str, now: float) -> dict[str, Any]:
    status = "True" if holds else "False"
    unchanged = before is not None and before.get("status") == status and before.get("lastTransitionTime")
    condition: dict[str, Any] = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and unchanged else timestamp(now),
    }
    return condition | {key: value for key, value in (("reason", reason), ("message", message)) if value}
