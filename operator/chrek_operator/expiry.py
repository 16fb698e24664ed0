"""Checkpoints that are marked for deletion at a time. Pure."""

from datetime import datetime
from typing import Any, Final

from chrek_operator.actions import Delete, Plan, Tell
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.names import Reason
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.retention import delete_after

REASON: Final = "nvidia.com/chrek-delete-reason"
"""Annotation that goes with the mark of a policy: `<time>: <policy and reason>`; it counts only for a mark of that very time."""
LOOK_AGAIN_SECONDS: Final = 60.0

Body = dict[str, Any]


def is_due(checkpoint: Checkpoint, now: datetime) -> bool:
    """Its time has come, so somebody has to look whether it is needed."""
    due = delete_after(checkpoint)
    return due is not None and due <= now


def next_step(body: Body, checkpoint: Checkpoint, needed_by: str | None, now: datetime) -> Plan:
    """What the mark asks for; nothing without one.

    Args:
        body: The checkpoint.
        checkpoint: The same.
        needed_by: Why it must not be deleted, empty if it may; None: nobody has looked.
        now: The time.
    """
    mark = checkpoint.metadata.annotations.get(names.ANNOTATION_DELETE_AFTER, "")
    if not mark:
        return Plan()
    due = delete_after(checkpoint)
    if due is None:
        message = f"annotation {names.ANNOTATION_DELETE_AFTER}: {mark!r} is no time such as 2026-01-29T10:05:00Z: it is ignored"
        return Plan((Tell(body, Reason.EXPIRY_KEPT, message, mark, warning=True),))
    if due > now:
        return Plan(recheck=(due - now).total_seconds())
    if needed_by is None:
        return Plan(recheck=0)
    if needed_by:
        message = f"not deleted, as annotation {names.ANNOTATION_DELETE_AFTER} asks: {needed_by}"
        return Plan((Tell(body, Reason.EXPIRY_KEPT, message, mark),), LOOK_AGAIN_SECONDS)
    why = checkpoint.metadata.annotations.get(REASON, "")
    message = f"deleted, as annotation {names.ANNOTATION_DELETE_AFTER} asks"
    if why.startswith(f"{mark}: "):
        message += f": {why.removeprefix(f'{mark}: ')}"
    told = Tell(body, Reason.EXPIRED, message, mark)
    return Plan((told, Delete(CHECKPOINTS, checkpoint.metadata.name, checkpoint.metadata.uid)))


def sooner(one: float | None, other: float | None) -> float | None:
    """The sooner of two rechecks."""
    return min((each for each in (one, other) if each is not None), default=None)
