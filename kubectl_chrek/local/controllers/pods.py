"""What controllers ask about pods. No input or output."""

from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.local.clock import seconds

_OVER: Final = ("Succeeded", "Failed")
Object = Mapping[str, Any]


def phase(pod: Object) -> str:
    """`status.phase`, Pending when it has none yet."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def terminating(pod: Object) -> bool:
    """It is deleted, and has not ended yet."""
    return "deletionTimestamp" in pod["metadata"] and phase(pod) not in _OVER


def active(pod: Object) -> bool:
    """It runs, or is going to."""
    return phase(pod) not in _OVER and "deletionTimestamp" not in pod["metadata"]


def condition(found: Object, kind: str) -> dict[str, Any]:
    """The condition of this type; empty when there is none."""
    for one in (found.get("status") or {}).get("conditions") or ():
        if one["type"] == kind:
            return dict(one)
    return {}


def holds(found: Object, kind: str) -> bool:
    """The condition of this type is True."""
    return condition(found, kind).get("status") == "True"


def available_in(pod: Object, min_ready: int, now: float) -> float | None:
    """Seconds until the pod has been ready for `min_ready` seconds, at least 0; None while it is not ready."""
    if not holds(pod, "Ready"):
        return None
    since = condition(pod, "Ready").get("lastTransitionTime")
    return max(0.0, seconds(since) + min_ready - now) if min_ready and since else 0.0


def restarts(pod: Object) -> int:
    """How often the pod's containers were started again."""
    status = pod.get("status") or {}
    kinds = ("containerStatuses", "initContainerStatuses")
    return sum(one.get("restartCount", 0) for kind in kinds for one in status.get(kind) or ())


def owner_uid(found: Object) -> str:
    """UID of the object's controller; empty when it has none."""
    for reference in found["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def owned_by(owner: Object) -> list[dict[str, Any]]:
    """`metadata.ownerReferences` of what this object controls."""
    keys = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    metadata = owner["metadata"]
    return [
        keys | {"name": metadata["name"], "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True},
    ]


def from_template(owner: Object, labels: Mapping[str, str]) -> dict[str, Any]:
    """The pod that the owner's template describes."""
    template = owner["spec"]["template"]
    given = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": f"{owner['metadata']['name']}-",
        "namespace": owner["metadata"]["namespace"],
        "labels": {**(given.get("labels") or {}), **labels},
        "ownerReferences": owned_by(owner),
    }
    if given.get("annotations"):
        metadata["annotations"] = dict(given["annotations"])
    if given.get("finalizers"):
        metadata["finalizers"] = list(given["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
