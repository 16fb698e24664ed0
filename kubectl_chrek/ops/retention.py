"""Which checkpoints may go, which may not and why: pure, and shared by `gc`, the TUI and the operator's retention policies.

Whatever is referenced, pinned, leased, still being made or already on its way out is never in a plan, whatever the policy says.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import IdentityError, UsageError
from kubectl_chrek.ops import marks
from kubectl_chrek.ops.formatting import human_bytes, human_duration

_SETTLED: Final = (names.Phase.READY, names.Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Policy:
    """What somebody wants gone. Rules add to a plan, all else takes away from it; at least one must be given.

    Rules are `failed`, `orphans`, `incompatible`, `unreferenced`, `everything` and `max_bytes`. Without a rule, `names` and
    `older_than` are about all checkpoints and `keep_last` and `keep_within` about the Ready ones.
    """

    names: tuple[str, ...] = ()
    """Only these."""
    failed: bool = False
    orphans: bool = False
    """Those made for a graph that is gone, and Ready ones without an artifact."""
    incompatible: bool = False
    """Those that no node can restore."""
    unreferenced: bool = False
    """The Ready ones."""
    everything: bool = False
    max_bytes: int | None = None
    """If the Ready ones take more, those used longest ago go until they take `low_bytes`."""
    low_bytes: int | None = None
    """Absent: the same as `max_bytes`."""
    older_than: float | None = None
    """Only what was not used for so many seconds."""
    keep_last: int | None = None
    """Spares so many of the Ready ones of each model of each namespace, those used last."""
    keep_within: float | None = None
    """Spares what was used within so many seconds."""

    @property
    def rules(self) -> bool:
        """At least one rule is given."""
        return (
            self.failed or self.orphans or self.incompatible or self.unreferenced or self.everything or self.max_bytes is not None
        )

    @property
    def keeps(self) -> bool:
        """Something spares what a rule names."""
        return self.keep_last is not None or self.keep_within is not None

    def check(self) -> None:
        """Raises UsageError when nothing is asked for, or what is asked for contradicts itself."""
        narrowed = bool(self.names) or self.older_than is not None or self.keeps
        if not (self.rules or narrowed):
            raise UsageError("say what may go", hint="give names, --unreferenced, --failed, --keep-last, --max-bytes or --all")
        if self.everything and (narrowed or self.failed or self.orphans or self.incompatible or self.unreferenced):
            raise UsageError("--all cannot be combined with names or other criteria")
        for flag, value in (("--keep-last", self.keep_last), ("--max-bytes", self.max_bytes), ("--low-bytes", self.low_bytes)):
            if value is not None and value < 0:
                raise UsageError(f"{flag}: must not be negative")
        if self.low_bytes is not None and (self.max_bytes is None or self.low_bytes > self.max_bytes):
            raise UsageError("--low-bytes must not be above --max-bytes")
        ready = self.orphans or self.incompatible or self.unreferenced or self.max_bytes is not None
        if self.failed and self.keep_last is not None and not ready:
            raise UsageError("--keep-last counts Ready checkpoints: it cannot be combined with --failed alone")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cluster says about checkpoints, by their UIDs; see `references.gather`."""

    referenced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Who refers to it: `dgd/NAME/SERVICE`, `pod/NAME`."""
    leased: Mapping[str, str] = field(default_factory=dict)
    """Who is at work on it right now."""
    orphaned: Mapping[str, str] = field(default_factory=dict)
    """Why nobody owns it."""
    incompatible: Mapping[str, str] = field(default_factory=dict)
    """Why no node can restore it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint with what decides about it. `reason` says why it goes, or why it stays; `bytes` return if it goes."""

    checkpoint: Checkpoint
    reason: str
    bytes: int
    referenced_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its metadata.name."""
        return self.checkpoint.metadata.name

    @property
    def uid(self) -> str:
        """Its metadata.uid."""
        return self.checkpoint.metadata.uid

    @property
    def last_used(self) -> datetime | None:
        """When it was last restored, captured or created."""
        return last_used(self.checkpoint)

    @property
    def cold_start_seconds(self) -> float:
        """What the next start of such a worker costs once it is gone; 0 is unknown."""
        artifact = self.checkpoint.status.artifact
        return artifact.cold_start_seconds if artifact else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        metadata = self.checkpoint.metadata
        return {
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
            "hash": _hash(self.checkpoint),
            "model": model_of(self.checkpoint),
            "phase": self.checkpoint.phase,
            "reason": self.reason,
            "bytes": self.bytes,
            "lastUsed": _stamp(self.last_used),
            "created": _stamp(metadata.creation_timestamp),
            "coldStartSeconds": self.cold_start_seconds,
            "referencedBy": list(self.referenced_by),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, and what is kept although the policy names it; each by namespace and name."""

    evict: tuple[Candidate, ...]
    keep: tuple[Candidate, ...]

    @property
    def id(self) -> str:
        """The same for two plans that evict the very same objects: what was shown is what runs. Empty when nothing goes."""
        uids = ",".join(sorted(candidate.uid for candidate in self.evict))
        return hashlib.sha256(uids.encode()).hexdigest()[:10] if uids else ""

    @property
    def bytes(self) -> int:
        """What returns when all are gone: at least, where they share chunks with each other."""
        return sum(candidate.bytes for candidate in self.evict)

    @property
    def cold_start_seconds(self) -> float:
        """What one start of each costs again."""
        return sum(candidate.cold_start_seconds for candidate in self.evict)


def plan(checkpoints: Sequence[Checkpoint], facts: Facts, policy: Policy, now: datetime) -> Plan:
    """Decides about each checkpoint.

    Args:
        checkpoints: All of the scope, or keep_last and max_bytes could not count.
        facts: What the cluster says about them.
        policy: What is wanted; `policy.check()` has passed.
        now: The time.
    """
    ordered = sorted(checkpoints, key=lambda each: (each.metadata.namespace, each.metadata.name))
    spared = _spared(ordered, policy, now)
    blocked = {each.metadata.uid: protection(each, facts, now) or spared.get(each.metadata.uid, "") for each in ordered}
    going: dict[str, str] = {}
    kept: dict[str, str] = {}
    for checkpoint in ordered:
        _decide(checkpoint, _reason(checkpoint, facts, policy, now), blocked, going, kept)
    if policy.max_bytes is not None:
        _fit(ordered, policy, now, blocked, going, kept)
    return Plan(_candidates(ordered, going, facts), _candidates(ordered, kept, facts))


def _decide(checkpoint: Checkpoint, reason: str, blocked: Mapping[str, str], going: dict[str, str], kept: dict[str, str]) -> None:
    """Notes a checkpoint that the policy names as going or as kept."""
    uid = checkpoint.metadata.uid
    if reason and blocked[uid]:
        kept[uid] = blocked[uid]
    elif reason:
        going[uid] = reason


def protection(checkpoint: Checkpoint, facts: Facts, now: datetime) -> str:
    """Why it must stay, whatever anybody asks for; empty if it may go."""
    if checkpoint.metadata.deletion_timestamp:
        return "being deleted"
    due = delete_after(checkpoint)
    if due is not None:
        return f"deletes in {human_duration(max((due - now).total_seconds(), 0))}"
    return in_use(checkpoint, facts)


def in_use(checkpoint: Checkpoint, facts: Facts) -> str:
    """Why it must not be deleted even when its time has come; empty if it may. For the operator, right before it deletes."""
    uid = checkpoint.metadata.uid
    if checkpoint.phase not in _SETTLED:
        return f"still {checkpoint.phase}"
    if uid in facts.leased:
        return f"in use by {facts.leased[uid]}"
    if checkpoint.pinned:
        return "pinned"
    return "referenced" if facts.referenced.get(uid) else ""


def delete_after(checkpoint: Checkpoint) -> datetime | None:
    """When the operator deletes it; None when it is not to be deleted, or the annotation is no time."""
    return marks.delete_after(checkpoint.metadata.annotations)


def last_used(checkpoint: Checkpoint) -> datetime | None:
    """When it was last restored, captured or created."""
    status = checkpoint.status
    times = (
        status.last_restore.at if status.last_restore else None,
        status.artifact.captured_at if status.artifact else None,
        status.created_at,
        checkpoint.metadata.creation_timestamp,
    )
    return max((time for time in times if time), default=None)


def model_of(checkpoint: Checkpoint) -> str:
    """The identity's model, however broken the rest of the identity is."""
    identity = checkpoint.spec.get("identity")
    return str(identity.get("model") or "") if isinstance(identity, Mapping) else ""


def freed_bytes(checkpoint: Checkpoint) -> int:
    """What returns if it goes: its unique bytes where the store has told them, else all."""
    artifact = checkpoint.status.artifact
    if artifact is None:
        return 0
    return artifact.bytes if artifact.unique_bytes is None else artifact.unique_bytes


def _reason(checkpoint: Checkpoint, facts: Facts, policy: Policy, now: datetime) -> str:
    """Why the policy names it, the limit on bytes aside; empty if it does not."""
    uid, ready = checkpoint.metadata.uid, checkpoint.phase == names.Phase.READY
    idle = _idle(checkpoint, now)
    if not _within(checkpoint, policy, idle):
        return ""
    if not policy.rules:
        if policy.names:
            return "named"
        if policy.keeps and not ready:
            return ""
        return f"unused for {human_duration(idle)}" if policy.keep_last is None else f"not among the latest {policy.keep_last}"
    reasons = (
        "Failed" if policy.failed and checkpoint.phase == names.Phase.FAILED else "",
        facts.orphaned.get(uid, "") if policy.orphans else "",
        facts.incompatible.get(uid, "") if policy.incompatible else "",
        "unreferenced" if policy.unreferenced and ready else "",
        checkpoint.phase if policy.everything else "",
    )
    return next(filter(None, reasons), "")


def _spared(checkpoints: Sequence[Checkpoint], policy: Policy, now: datetime) -> dict[str, str]:
    """Why the keep rules spare a checkpoint, by UID."""
    spared: dict[str, str] = {}
    if policy.keep_within is not None:
        for checkpoint in checkpoints:
            if _idle(checkpoint, now) < policy.keep_within:
                spared[checkpoint.metadata.uid] = f"used {human_duration(_idle(checkpoint, now))} ago"
    if policy.keep_last is not None:
        spared |= dict.fromkeys(_latest(checkpoints, policy.keep_last), "among the latest")
    return spared


def _latest(checkpoints: Iterable[Checkpoint], count: int) -> list[str]:
    """UIDs of the latest used Ready checkpoints of each model of each namespace."""
    models: dict[tuple[str, str], list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        if _counts(checkpoint):
            models.setdefault((checkpoint.metadata.namespace, model_of(checkpoint)), []).append(checkpoint)
    latest = []
    for found in models.values():
        ordered = sorted(found, key=lambda each: (_stamp(last_used(each)), each.metadata.name), reverse=True)
        latest += [checkpoint.metadata.uid for checkpoint in ordered[:count]]
    return latest


def _fit(
    checkpoints: Sequence[Checkpoint],
    policy: Policy,
    now: datetime,
    blocked: Mapping[str, str],
    going: dict[str, str],
    kept: dict[str, str],
) -> None:
    """Adds, of the Ready ones, those used longest ago: as many as it takes to come below the limit."""
    limit = policy.max_bytes or 0
    staying = [each for each in checkpoints if _counts(each) and each.metadata.uid not in going]
    total = sum(map(freed_bytes, staying))
    target = limit if policy.low_bytes is None else policy.low_bytes
    if total <= limit:
        return
    for checkpoint in sorted(staying, key=lambda each: (_stamp(last_used(each)), each.metadata.name)):
        if total <= target:
            break
        if freed_bytes(checkpoint) and _within(checkpoint, policy, _idle(checkpoint, now)):
            _decide(checkpoint, f"over {human_bytes(limit)}", blocked, going, kept)
            total -= freed_bytes(checkpoint) if checkpoint.metadata.uid in going else 0


def _within(checkpoint: Checkpoint, policy: Policy, idle: float) -> bool:
    """The policy is about it at all."""
    if policy.names and checkpoint.metadata.name not in policy.names:
        return False
    return policy.older_than is None or idle >= policy.older_than


def _counts(checkpoint: Checkpoint) -> bool:
    """It is one of those that keep_last and max_bytes are about."""
    leaving = checkpoint.metadata.deletion_timestamp or delete_after(checkpoint) is not None
    return checkpoint.phase == names.Phase.READY and not leaving


def _candidates(checkpoints: Iterable[Checkpoint], reasons: Mapping[str, str], facts: Facts) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(each, reasons[each.metadata.uid], freed_bytes(each), tuple(facts.referenced.get(each.metadata.uid, ())))
        for each in checkpoints
        if each.metadata.uid in reasons
    )


def _idle(checkpoint: Checkpoint, now: datetime) -> float:
    """Seconds since the last use."""
    used = last_used(checkpoint)
    return (now - used).total_seconds() if used else 0.0


def _hash(checkpoint: Checkpoint) -> str:
    try:
        return checkpoint.hash
    except IdentityError:
        return ""


def _stamp(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else ""
