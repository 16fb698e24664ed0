"""`ls`: which checkpoints, in what order, and what a row says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api.checkpoint import Checkpoint, LastRestore, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_age, human_bytes, human_seconds
from kubectl_chrek.ops.jsonpath import find, parse_path

Body = dict[str, Any]

COLUMNS: Final = ("NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE")
WIDE_COLUMNS: Final = (*COLUMNS, "SIZE", "NODE", "GENERATION", "COLD-START", "LAST-RESTORE", "RESTORES")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which checkpoints: those of these names, or those that match the selectors."""

    names: tuple[str, ...] = ()
    labels: str = ""
    fields: str = ""


async def fetch(cluster: Cluster, options: ConnectionOptions, selection: Selection) -> tuple[list[Body], list[ChrekError]]:
    """The selected objects, by namespace and name or in the order of the names given, and an error for each name that is none.

    Raises:
        UsageError: Names were given for all namespaces, or together with a selector.
    """
    if not selection.names:
        scope = options.scope(cluster)
        found = await cluster.list(CHECKPOINTS, scope, labels=selection.labels, fields=selection.fields)
        return sorted(found, key=_place), []
    check_names(options, selection)
    bodies, errors = [], []
    for name in selection.names:
        try:
            bodies.append(await cluster.get(CHECKPOINTS, name))
        except NotFoundError as error:
            errors.append(error)
    return bodies, list[ChrekError](errors)


def check_names(options: ConnectionOptions, selection: Selection) -> None:
    """Raises UsageError when the names cannot be meant as they are given."""
    if not selection.names:
        return
    if options.all_namespaces:
        raise UsageError("a checkpoint cannot be named across all namespaces", hint="give -n NAMESPACE instead of -A")
    if selection.labels or selection.fields:
        raise UsageError("give names or a selector, not both")


def sort_by(bodies: Sequence[Body], path: str) -> list[Body]:
    """The objects in the order of the value at a JSONPath: numbers before text, objects without it first.

    Raises:
        UsageError: The path cannot be read.
    """
    parsed = parse_path(path)

    def key(body: Body) -> tuple[int, float, str]:
        values = find(parsed, body)
        if not values or values[0] is None:
            return (0, 0.0, "")
        value = values[0]
        return (1, float(value), "") if isinstance(value, (int, float)) else (2, 0.0, str(value))

    return sorted(bodies, key=key)


def headers(*, wide: bool, namespaces: bool) -> list[str]:
    """The columns of a table."""
    return ["NAMESPACE"] * namespaces + list(WIDE_COLUMNS if wide else COLUMNS)


def row(body: Mapping[str, Any], now: datetime, *, wide: bool, namespaces: bool) -> list[str]:
    """The cells of one checkpoint."""
    checkpoint = read_checkpoint(body)
    identity = checkpoint.spec.get("identity") or {}
    cells = [
        checkpoint.metadata.name,
        str(identity.get("model") or NONE),
        str(identity.get("backendFramework") or NONE),
        checkpoint.phase,
        real_hash(checkpoint),
        human_age(checkpoint.metadata.creation_timestamp, now),
    ]
    if wide:
        cells += _wide_cells(checkpoint)
    return [checkpoint.metadata.namespace] * namespaces + cells


def real_hash(checkpoint: Checkpoint) -> str:
    """The hash of the identity, whatever the status says; `<unknown>` when the identity is none."""
    try:
        return checkpoint.hash
    except IdentityError:
        return UNKNOWN


def restore_text(restore: LastRestore | None) -> str:
    """How the last restore went: its time, or why it was none."""
    if restore is None or not restore.result:
        return NONE
    return human_seconds(restore.seconds) if restore.result == "restored" else f"cold: {restore.reason or UNKNOWN}"


def _wide_cells(checkpoint: Checkpoint) -> list[str]:
    artifact, status = checkpoint.status.artifact, checkpoint.status
    known = ["", "", "", ""]
    if artifact:
        cold = human_seconds(artifact.cold_start_seconds) if artifact.cold_start_seconds else ""
        known = [human_bytes(artifact.bytes), artifact.node, artifact.generation, cold]
    return [*(cell or NONE for cell in known), restore_text(status.last_restore), str(status.restores)]


def _place(body: Body) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]
