"""ChrekRetentionPolicy: read, and turned into what to do. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from chrek_operator import expiry
from chrek_operator.actions import Action, Patch, Plan, Tell
from chrek_operator.draft import Draft
from chrek_operator.objects import timestamp
from chrek_operator.outcome import words
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.names import Reason
from kubectl_chrek.cluster.resources import CHECKPOINTS, POLICIES
from kubectl_chrek.ops.durations import parse_duration
from kubectl_chrek.ops.retention import Candidate, Facts, Policy, plan

VALID: Final = "Valid"
"""Condition type of a policy."""
GRACE_SECONDS: Final = 3600.0
INTERVAL_SECONDS: Final = 300.0
SHOWN: Final = 20
"""How many candidates a status lists."""
_SUFFIXES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGTPE", start=1)
}
_QUANTITY: Final = re.compile(rf"^(\d+(?:\.\d+)?)({'|'.join(_SUFFIXES)})$")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Retention:
    """A policy's spec, checked. Times are in seconds."""

    policy: Policy
    dry_run: bool
    grace: float
    """How long a checkpoint that is to go may still be saved."""


def read_retention(body: Mapping[str, Any]) -> Retention:
    """The spec of a ChrekRetentionPolicy. Raises UsageError: it asks for nothing, or contradicts itself."""
    spec = body.get("spec") or {}
    policy = Policy(
        failed=bool(spec.get("failed")),
        orphans=bool(spec.get("orphans")),
        incompatible=bool(spec.get("incompatible")),
        unreferenced=bool(spec.get("unreferenced")),
        max_bytes=_bytes(spec, "maxBytes"),
        low_bytes=_bytes(spec, "lowBytes"),
        older_than=_seconds(spec, "olderThan"),
        keep_last=spec.get("keepLast"),
        keep_within=_seconds(spec, "keepWithin"),
    )
    if not (policy.rules or policy.keeps or policy.older_than is not None):
        rules = "maxBytes, olderThan, keepLast, keepWithin, failed, orphans, incompatible, unreferenced"
        raise UsageError("spec: nothing would ever go", hint=f"give at least one of {rules}")
    if policy.low_bytes is not None and (policy.max_bytes is None or policy.low_bytes > policy.max_bytes):
        raise UsageError("spec.lowBytes: must not be above spec.maxBytes")
    policy.check()
    grace = _seconds(spec, "gracePeriod")
    return Retention(policy, bool(spec.get("dryRun")), GRACE_SECONDS if grace is None else grace)


def plan_policy(body: Body, checkpoints: Sequence[Checkpoint], facts: Facts, now: datetime) -> Plan:
    """What a policy does now: marks what has to go, tells of each, and writes down what it found."""
    draft = Draft(POLICIES, body, now)
    draft.set(observedGeneration=body["metadata"].get("generation", 0))
    try:
        retention = read_retention(body)
    except UsageError as error:
        draft.condition(VALID, "InvalidPolicy", words(error), true=False)
        return draft.plan()
    draft.condition(VALID, "PolicyIsValid", true=True)
    found = plan(checkpoints, facts, retention.policy, now)
    draft.set(
        dryRun=retention.dry_run,
        candidates=[_shown(candidate) for candidate in found.evict[:SHOWN]] if retention.dry_run else None,
        matched=len(found.evict) if retention.dry_run else None,
        kept=len(found.keep),
    )
    actions: list[Action] = []
    for candidate in () if retention.dry_run else found.evict:
        actions += _evict(body, candidate, now, retention.grace)
    marked = sum(_is_marked(checkpoint, body) for checkpoint in checkpoints)
    draft.set(marked=marked + (0 if retention.dry_run else len(found.evict)))
    return draft.plan(*actions, recheck=INTERVAL_SECONDS)


def _evict(body: Body, candidate: Candidate, now: datetime, grace: float) -> list[Action]:
    """Two phases: it is marked now, and deleted when the grace is over, unless somebody takes the mark away."""
    due = timestamp(now + timedelta(seconds=grace))
    metadata = candidate.checkpoint.metadata
    why = f"policy {body['metadata']['name']}: {candidate.reason}"
    annotations = {names.ANNOTATION_DELETE_AFTER: due, expiry.REASON: f"{due}: {why}"}
    patch = {"metadata": {"resourceVersion": metadata.resource_version, "annotations": annotations}}
    about = {
        "apiVersion": names.API_VERSION,
        "kind": names.CHECKPOINT_KIND,
        "metadata": {"name": metadata.name, "uid": metadata.uid, "resourceVersion": metadata.resource_version},
    }
    message = f"{why}; deleted at {due}, {candidate.bytes} bytes return"
    # Told first, so that nothing is marked untold; and told again when a mark was taken away and set anew.
    told = Tell(about, Reason.EVICTED, message, due)
    return [told, Patch(CHECKPOINTS, metadata.name, patch)]


def _is_marked(checkpoint: Checkpoint, body: Body) -> bool:
    """It waits for its deletion by this policy."""
    annotations = checkpoint.metadata.annotations
    due = annotations.get(names.ANNOTATION_DELETE_AFTER)
    return bool(due) and annotations.get(expiry.REASON, "").startswith(f"{due}: policy {body['metadata']['name']}: ")


def _shown(candidate: Candidate) -> Body:
    return {"name": candidate.name, "reason": candidate.reason, "bytes": candidate.bytes}


def _seconds(spec: Mapping[str, Any], field: str) -> float | None:
    if spec.get(field) is None:
        return None
    try:
        return parse_duration(str(spec[field]))
    except UsageError as error:
        raise UsageError(f"spec.{field}: {error}", hint=error.hint) from error


def _bytes(spec: Mapping[str, Any], field: str) -> int | None:
    if spec.get(field) is None:
        return None
    found = _QUANTITY.match(str(spec[field]))
    if not found:
        raise UsageError(f"spec.{field}: invalid quantity {spec[field]!r}", hint="write it as 500Gi or 2T")
    return int(Decimal(found[1]) * _SUFFIXES[found[2]])
