"""`describe`: one checkpoint with all that is known of it, as lines for a person."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubectl_chrek.api.checkpoint import Artifact, CachedCopy, Checkpoint, LastRestore, Verification, read_checkpoint
from kubectl_chrek.api.errors import ClusterError, IdentityError, NotFoundError
from kubectl_chrek.api.node import Ceilings, read_node
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, EVENTS
from kubectl_chrek.ops.events import age, last_seen, message, writer
from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_age, human_bytes, human_duration, human_seconds
from kubectl_chrek.ops.pinning import read_pin
from kubectl_chrek.ops.progress import progress_text
from kubectl_chrek.ops.retention import delete_after
from kubectl_chrek.ops.timeline import Step, steps

Body = dict[str, Any]
Pairs = Sequence[tuple[str, str]]

Nodes = Mapping[str, Ceilings]
"""What nodes can do at best, by their names."""


@dataclass(frozen=True, slots=True)
class Described:
    """A checkpoint, the events about it, oldest first, and what the nodes of its capture and last restore can do at best."""

    body: Body
    events: tuple[Body, ...]
    nodes: Nodes = field(default_factory=dict)


async def fetch_described(cluster: Cluster, name: str) -> Described:
    """Reads a checkpoint and its events.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    body = await cluster.get(CHECKPOINTS, name)
    events = await cluster.list(EVENTS, fields=f"involvedObject.uid={body['metadata']['uid']}")
    return Described(body, tuple(sorted(events, key=last_seen)), await fetch_ceilings(cluster, read_checkpoint(body)))


async def fetch_ceilings(cluster: Cluster, checkpoint: Checkpoint) -> Nodes:
    """What the nodes where it was captured and last restored can do at best; without those that tell nothing, or not to us."""
    artifact, restore = checkpoint.status.artifact, checkpoint.status.last_restore
    found: dict[str, Ceilings] = {}
    for name in sorted({each.node for each in (artifact, restore) if each and each.node}):
        try:
            found[name] = read_node(await cluster.get(CHREK_NODES, name, "")).status.ceilings
        except NotFoundError:
            continue
        except ClusterError as error:
            if error.status != 403:
                raise
    return found


def describe(described: Described, now: datetime) -> list[str]:
    """The lines, as kubectl lays them out."""
    checkpoint = read_checkpoint(described.body)
    status = checkpoint.status
    lines = [
        *_fields(_header(checkpoint, now)),
        *_section("Identity", _identity(checkpoint)),
        *_section("Status", _status(checkpoint, now)),
        *_section("Artifact", _artifact(status.artifact, described.nodes, now)),
        *_section("Last Restore", _last_restore(status.last_restore, status.artifact, described.nodes, now)),
    ]
    conditions = [
        [each.type, each.status, each.reason, human_age(each.last_transition_time, now), each.message] for each in status.conditions
    ]
    lines += _table("Conditions", ["Type", "Status", "Reason", "Age", "Message"], conditions)
    events = [_event(event, now) for event in described.events]
    return [*lines, *_table("Events", ["Type", "Reason", "Age", "From", "Message"], events)]


def _header(checkpoint: Checkpoint, now: datetime) -> Pairs:
    metadata = checkpoint.metadata
    pairs = [
        ("Name", metadata.name),
        ("Namespace", metadata.namespace),
        ("Hash", _hash(checkpoint)),
        ("Labels", _joined(metadata.labels)),
        ("Annotations", _joined(metadata.annotations)),
        ("Created", _moment(metadata.creation_timestamp, now)),
    ]
    if metadata.deletion_timestamp:
        pairs.append(("Deleted", f"{_moment(metadata.deletion_timestamp, now)}; waits for {_joined_names(metadata.finalizers)}"))
    return pairs


def _hash(checkpoint: Checkpoint) -> str:
    try:
        found = checkpoint.hash
    except IdentityError:
        return UNKNOWN
    return found if found == checkpoint.metadata.name else f"{found} (the name differs; checkpointRef takes the name)"


def _identity(checkpoint: Checkpoint) -> Pairs:
    try:
        identity = checkpoint.identity
    except IdentityError as error:
        return [("Error", str(error))]
    return [
        ("Model", identity.model),
        ("Backend Framework", identity.framework),
        ("Dynamo Version", identity.dynamo_version or NONE),
        ("Tensor Parallel Size", str(identity.tensor_parallel_size)),
        ("Pipeline Parallel Size", str(identity.pipeline_parallel_size)),
        ("Data Type", identity.dtype or NONE),
        ("Max Model Length", str(identity.max_model_len or NONE)),
        ("Extra Parameters", _joined(identity.extra_parameters)),
    ]


def _status(checkpoint: Checkpoint, now: datetime) -> Pairs:
    status, pin, due = checkpoint.status, read_pin(checkpoint), delete_after(checkpoint)
    left = human_duration(max((due - now).total_seconds(), 0)) if due else ""
    caches = ", ".join(map(_copy, status.caches))
    optional = [
        ("Message", status.message),
        ("Progress", progress_text(checkpoint)),
        ("Last Failure", status.failure),
        ("Job", status.job_name),
        ("Location", f"{status.location} ({status.storage_type or UNKNOWN})" if status.location else ""),
        ("Caches", caches),
        ("Verified", _verification(status.verification, now)),
        ("Pinned", f"{pin}; never collected" if pin else ""),
        ("Deletes", f"in {left}, at {due:%Y-%m-%dT%H:%M:%SZ}, unless undeleted or in use" if due else ""),
    ]
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(status.cold_starts_by_cause.items()))
    counts = f"{status.restores} restored, {status.cold_starts} cold" + (f" ({causes})" if causes else "")
    return [("Phase", checkpoint.phase), *((label, text) for label, text in optional if text), ("Starts", counts)]


def _copy(copy: CachedCopy) -> str:
    """A node's copy: how much of what, and why it is not whole, if it was asked to be."""
    part = f" of {human_bytes(copy.total)}" if copy.bytes < copy.total else ""
    return f"{copy.node} ({human_bytes(copy.bytes)}{part}{f': {copy.message}' if copy.message else ''})"


def _verification(answer: Verification | None, now: datetime) -> str:
    if answer is None or not answer.result:
        return ""
    when = f" {human_age(answer.at, now)} ago" if answer.at else ""
    return f"{answer.result}{when}" + (f": {answer.message}" if answer.message else "")


def _artifact(artifact: Artifact | None, nodes: Nodes, now: datetime) -> Pairs:
    if artifact is None:
        return []
    return [
        ("Generation", artifact.generation),
        ("Digest", artifact.digest or UNKNOWN),
        ("Size", _size(artifact)),
        ("Node", artifact.node or UNKNOWN),
        ("Captured", _moment(artifact.captured_at, now)),
        ("Cold Start", human_seconds(artifact.cold_start_seconds)),
        ("Capture", _timed(artifact.capture_seconds, artifact.bytes)),
        *_phases(artifact.phases, artifact.phase_bytes, artifact.bytes, nodes.get(artifact.node)),
    ]


def _size(artifact: Artifact) -> str:
    own = "" if artifact.unique_bytes is None else f", {human_bytes(artifact.unique_bytes)} of its own"
    added = "" if artifact.stored_bytes is None else f", {human_bytes(artifact.stored_bytes)} added to the store"
    return f"{human_bytes(artifact.bytes)} in {artifact.files} files{added}{own}"


def _last_restore(restore: LastRestore | None, artifact: Artifact | None, nodes: Nodes, now: datetime) -> Pairs:
    if restore is None:
        return []
    moved = artifact.bytes if artifact else 0
    return [
        ("Result", restore.result + (f": {restore.reason}" if restore.reason else "")),
        ("Pod", restore.pod or UNKNOWN),
        ("Node", restore.node or UNKNOWN),
        ("At", _moment(restore.at, now)),
        ("Took", _timed(restore.seconds, moved if restore.result == "restored" else 0)),
        *_phases(restore.phases, restore.phase_bytes, moved, nodes.get(restore.node)),
    ]


def _phases(phases: Mapping[str, float], moved: Mapping[str, int], size: int, ceilings: Ceilings | None) -> Pairs:
    """Each phase with its share of all and, if it moves bytes, its rate and how near that is to what the node can do."""
    return [
        (f"  {step.name}", f"{human_seconds(step.seconds):<6} {step.part:>4.0%}{_rate(step.seconds, step.bytes)}{_reached(step)}")
        for step in steps(phases, moved, size, ceilings)
    ]


def _reached(step: Step) -> str:
    return "" if step.share is None else f", {step.share:.0%} of the node's {step.bound} ({step.ceiling / 1e9:.2f} GB/s)"


def _timed(seconds: float, moved: int) -> str:
    return human_seconds(seconds) + _rate(seconds, moved)


def _rate(seconds: float, moved: int) -> str:
    return f", {moved / seconds / 1e9:.2f} GB/s" if seconds and moved else ""


def _event(event: Mapping[str, Any], now: datetime) -> list[str]:
    return [event.get("type") or NONE, event.get("reason") or NONE, age(event, now), writer(event) or NONE, message(event)]


def _moment(then: datetime | None, now: datetime) -> str:
    return UNKNOWN if then is None else f"{then:%Y-%m-%dT%H:%M:%SZ} ({human_age(then, now)} ago)"


def _joined(mapping: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(mapping.items())) or NONE


def _joined_names(found: Iterable[str]) -> str:
    return ", ".join(found) or "nothing"


def _section(title: str, pairs: Pairs) -> list[str]:
    return [f"{title}:", *_fields(pairs, indent=2)] if pairs else _fields([(title, NONE)])


def _fields(pairs: Pairs, *, indent: int = 0) -> list[str]:
    width = max(len(label) for label, _ in pairs) + 1
    return [f"{'':{indent}}{f'{label}:':{width}}  {value}" for label, value in pairs]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return _fields([(title, NONE)])
    cells = [columns, ["-" * len(column) for column in columns], *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [f"{title}:", *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)]
