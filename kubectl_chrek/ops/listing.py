"""`ls`: which checkpoints, in what order, and what a row says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, LastRestore, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_age, human_bytes, human_duration, human_seconds
from kubectl_chrek.ops.jsonpath import find, parse_path
from kubectl_chrek.ops.pinning import read_pin
from kubectl_chrek.ops.retention import delete_after

Body = dict[str, Any]

COLUMNS: Final = ("NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE")
WIDE_COLUMNS: Final = (
    *COLUMNS,
    *("SIZE", "UNIQUE", "NODE", "CACHES", "COLD-START", "LAST-RESTORE", "RESTORES", "COLD-STARTS", "PINNED", "DELETES-IN"),
)


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
        return sorted(found, key=place), []
    check_names(options, selection)
    bodies, errors = [], []
    for name in selection.names:
        try:
            bodies.append(await cluster.get(CHECKPOINTS, name))
        except NotFoundError as error:
            errors.append(error)
    return bodies, list[ChrekError](errors)


async def fetch_checkpoints(cluster: Cluster, options: ConnectionOptions, selection: Selection) -> list[Checkpoint]:
    """The selected checkpoints.

    Raises:
        NotFoundError: One of the names is none.
        UsageError: As fetch.
    """
    bodies, errors = await fetch(cluster, options, selection)
    if errors:
        raise errors[0]
    return [read_checkpoint(body) for body in bodies]


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
    """The cells of one checkpoint. Its view is built for wide ones only: it takes most of the time of a long list."""
    metadata, status = body["metadata"], body.get("status") or {}
    identity = (body.get("spec") or {}).get("identity") or {}
    created = metadata.get("creationTimestamp")
    cells = [
        metadata["name"],
        str(identity.get("model") or NONE),
        str(identity.get("backendFramework") or NONE),
        status.get("phase") or names.Phase.PENDING,
        _hash(identity),
        human_age(datetime.fromisoformat(created) if created else None, now),
    ]
    if wide:
        cells += _wide_cells(read_checkpoint(body), now)
    return [metadata.get("namespace", "")] * namespaces + cells


def _hash(identity: object) -> str:
    try:
        return parse_identity(identity).hash
    except IdentityError:
        return UNKNOWN


def label_headers(columns: Sequence[str], *, everything: bool) -> list[str]:
    """Titles of the columns of `-L` and `--show-labels`."""
    return [column.rpartition("/")[2].upper() for column in columns] + ["LABELS"] * everything


def label_cells(body: Mapping[str, Any], columns: Sequence[str], *, everything: bool) -> list[str]:
    """Their cells."""
    labels: Mapping[str, str] = body["metadata"].get("labels") or {}
    joined = ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE
    return [labels.get(column) or NONE for column in columns] + [joined] * everything


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


def _wide_cells(checkpoint: Checkpoint, now: datetime) -> list[str]:
    artifact, status = checkpoint.status.artifact, checkpoint.status
    known = ["", "", "", ""]
    if artifact:
        cold = human_seconds(artifact.cold_start_seconds) if artifact.cold_start_seconds else ""
        unique = UNKNOWN if artifact.unique_bytes is None else human_bytes(artifact.unique_bytes)
        known = [human_bytes(artifact.bytes), unique, artifact.node, cold]
    size, unique, node, cold = (cell or NONE for cell in known)
    pin, due = read_pin(checkpoint), delete_after(checkpoint)
    return [
        *(size, unique, node, ",".join(copy.node for copy in status.caches) or NONE, cold),
        *(restore_text(status.last_restore), str(status.restores), str(status.cold_starts)),
        NONE if pin is None else pin.by or "yes",
        NONE if due is None else human_duration(max((due - now).total_seconds(), 0)),
    ]


def place(body: Body) -> tuple[str, str]:
    """Namespace and name: the order of lists."""
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]
