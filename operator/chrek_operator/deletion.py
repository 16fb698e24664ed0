"""What to do about a DynamoCheckpoint that is being deleted.

The Job goes at once. Our finalizer stays until an agent has deleted the artifact; only where none can exist - no artifact was
ever recorded, no source pod is left and nobody holds the Lease of a capture - the operator takes it off itself, so that deleting
works on a cluster without agents. The same goes for an artifact that is to be retained.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from chrek_operator.actions import Delete, Patch, Plan
from chrek_operator.draft import Draft
from chrek_operator.objects import is_deleting
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.cluster.resources import CHECKPOINTS, JOBS

Body = dict[str, Any]


def plan_deletion(
    body: Body,
    checkpoint: Checkpoint,
    job: Body | None,
    pods: Sequence[Body],
    lease: Body | None,
    now: datetime,
    settings: Settings,
) -> Plan:
    """The next step on a checkpoint's way out. `job` is its own, or None."""
    if job is not None:
        gone = () if is_deleting(job) else (Delete(JOBS, job["metadata"]["name"], job["metadata"]["uid"]),)
        return Plan(gone, recheck=settings.poll if is_deleting(job) else 0)
    metadata = checkpoint.metadata
    if names.FINALIZER not in metadata.finalizers:
        return Plan()
    captured = checkpoint.status.artifact is not None or checkpoint.status.created_at is not None
    if captured and not checkpoint.retained:
        draft = Draft(CHECKPOINTS, body, now)
        draft.set(message="waiting for an agent to delete the artifact")
        return draft.plan()
    if pods or _is_held(lease, now):
        return Plan(recheck=settings.poll)
    left = [finalizer for finalizer in metadata.finalizers if finalizer != names.FINALIZER]
    patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"], "finalizers": left}}
    return Plan((Patch(CHECKPOINTS, metadata.name, patch),))


def _is_held(lease: Body | None, now: datetime) -> bool:
    spec = (lease or {}).get("spec") or {}
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return False
    return now < datetime.fromisoformat(spec["renewTime"]) + timedelta(seconds=spec.get("leaseDurationSeconds") or 0)
