"""`doctor` about checkpoints: what failed, what is stuck, and why pods started cold lately. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.ops.findings import Finding, ok, warn
from kubectl_chrek.ops.formatting import human_age, human_duration

STUCK_LEASE_SECONDS: Final = 300.0
UNSEEN_SECONDS: Final = 60.0
"""An operator that is there has looked at a new checkpoint by then."""
_SHOWN: Final = 5


def check_leases(leases: Sequence[Mapping[str, Any]], now: datetime) -> list[Finding]:
    """Leases whose holder has not been heard of: another agent may take them, but a name left for long tells of a crash."""
    ours = [lease for lease in leases if lease["metadata"]["name"].startswith(names.LEASE_PREFIX)]
    findings = []
    for lease in ours:
        spec, metadata = lease.get("spec") or {}, lease["metadata"]
        renewed = spec.get("renewTime")
        age = (now - datetime.fromisoformat(renewed)).total_seconds() if renewed else 0.0
        if age > STUCK_LEASE_SECONDS:
            place = f"lease/{metadata['name']}"
            message = f"{spec.get('holderIdentity') or 'nobody'} has not renewed it for {human_duration(age)}"
            findings.append(warn(place, message, f"kubectl delete -n {metadata.get('namespace', '')} {place}"))
    return findings or [ok("leases", f"{len(ours)} held")]


def check_checkpoints(checkpoints: Sequence[Checkpoint], now: datetime) -> list[Finding]:
    """Those that need a person, then the latest cold starts."""
    troubled = [finding for checkpoint in checkpoints if (finding := _trouble(checkpoint, now))]
    more = len(troubled) - _SHOWN
    findings = troubled[:_SHOWN]
    if more > 0:
        findings.append(warn("checkpoints", f"{more} more are failed or stuck", "kubectl chrek ls -A"))
    if not troubled:
        ready = sum(checkpoint.phase == names.Phase.READY for checkpoint in checkpoints)
        findings.append(ok("checkpoints", f"{ready} of {len(checkpoints)} are Ready"))
    return findings + _cold_starts(checkpoints, now)


def _trouble(checkpoint: Checkpoint, now: datetime) -> Finding | None:
    metadata, status = checkpoint.metadata, checkpoint.status
    name, place = f"checkpoint/{metadata.name}", f"-n {metadata.namespace} {metadata.name}"
    age = (now - metadata.creation_timestamp).total_seconds() if metadata.creation_timestamp else 0.0
    if metadata.deletion_timestamp and (now - metadata.deletion_timestamp).total_seconds() > STUCK_LEASE_SECONDS:
        since = human_age(metadata.deletion_timestamp, now)
        return warn(name, f"is being deleted since {since}, which waits for an agent", f"kubectl chrek describe {place}")
    if not status.phase and age > UNSEEN_SECONDS:
        return warn(name, "no operator has looked at it", f"kubectl get pods -A -l app.kubernetes.io/name={names.OPERATOR}")
    if checkpoint.phase == names.Phase.FAILED:
        return warn(name, f"failed: {status.message or status.failure or 'no reason was given'}", f"kubectl chrek logs {place}")
    if checkpoint.phase == names.Phase.READY and status.artifact is None:
        return warn(name, "is Ready without an artifact", f"kubectl chrek describe {place}")
    limit = checkpoint.spec.get("job", {}).get("activeDeadlineSeconds") or names.ACTIVE_DEADLINE_SECONDS
    if checkpoint.phase in (names.Phase.PENDING, names.Phase.CREATING) and age > float(limit):
        return warn(name, f"is {checkpoint.phase} since {human_duration(age)}", f"kubectl chrek events {place}")
    return None


def _cold_starts(checkpoints: Sequence[Checkpoint], now: datetime) -> list[Finding]:
    """The latest starts that should have been restores."""
    cold = [
        (restore.at, checkpoint, restore)
        for checkpoint in checkpoints
        if (restore := checkpoint.status.last_restore) and restore.result == "cold" and restore.at
    ]
    latest = sorted(cold, key=lambda each: each[0], reverse=True)[:_SHOWN]
    findings = []
    for at, checkpoint, restore in latest:
        why = ": ".join(filter(None, (restore.cause, restore.reason))) or "no reason was given"
        place = f"-n {checkpoint.metadata.namespace} {checkpoint.metadata.name}"
        message = f"pod {restore.pod} started cold {human_age(at, now)} ago: {why}"
        findings.append(warn(f"checkpoint/{checkpoint.metadata.name}", message, f"kubectl chrek logs {place} --only agent,worker"))
    return findings or [ok("cold-starts", "no checkpoint's last start was cold")]
