"""Reads rows from raw objects: only what the list shows, without a model of the rest.

An object that is not quite as the CRD's schema wants it is read by the models, which know what may pass for what.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import Identity, parse_identity
from kubectl_chrek.ops.formatting import UNKNOWN, human_bytes, human_seconds
from kubectl_chrek.tui.plain import clean
from kubectl_chrek.tui.views.packing import checkpoint_of, pack
from kubectl_chrek.tui.views.phases import DELETING, phase_cell, result_of
from kubectl_chrek.tui.views.rows import Row
from kubectl_chrek.tui.widgets.cells import Cell, Tone

NONE: Final = Cell("-", Tone.MUTED)
_UNKNOWN: Final = Cell(UNKNOWN, Tone.MUTED)
_EMPTY: Final[dict[str, Any]] = {}
_NO_LABELS: Final[dict[str, str]] = {}

T = TypeVar("T")
Body = Mapping[str, Any]


class _OddError(Exception):
    """Something is of another type than the schema says."""


def read_row(body: Body) -> Row:
    """The row of a raw object. An object that cannot be read gets a row too, whose message says why."""
    packed = pack(body)
    try:
        return _row(body, packed)
    except _OddError:
        return _row(checkpoint_of(packed).model_dump(by_alias=True, exclude_none=True), packed)


def _row(body: Body, packed: bytes) -> Row:
    metadata, status = _get(body, "metadata", _EMPTY), _get(body, "status", _EMPTY)
    identity = _identity(_get(body, "spec", _EMPTY))
    artifact, last = _part(status, "artifact", "generation"), _part(status, "lastRestore")
    phase = DELETING if metadata.get("deletionTimestamp") else clean(_get(status, "phase", "") or names.Phase.PENDING)
    namespace, name = _get(metadata, "namespace", ""), _get(metadata, "name", "")
    cells = (
        _common(namespace),
        Cell(clean(name)),
        *_identity_cells(identity),
        _phase(phase, status, packed),
        *_artifact_cells(artifact),
        _seconds(last, "seconds") if last and last.get("result") == "restored" else NONE,
        result_of(_get(last, "result", "")) if last else NONE,
        _count(_get(status, "restores", 0)),
        _count(_get(status, "coldStarts", 0)),
        _nodes(artifact, status),
        _notes(_get(metadata, "annotations", _EMPTY), status, packed),
    )
    return Row(
        key=_get(metadata, "uid", ""),
        namespace=namespace,
        name=name,
        labels=_get(metadata, "labels", _NO_LABELS),
        phase=phase,
        created=_time(metadata.get("creationTimestamp")),
        size=_get(artifact, "bytes", 0) if artifact else None,
        capturing=artifact is None and bool(status.get("progress")),
        message=_get(status, "failure", "") or _get(status, "message", ""),
        identity=identity,
        cells=cells,
        haystack="\n".join([cell.text for cell in cells]).casefold(),
        packed=packed,
    )


# -- values --------------------------------------------------------------------------------------------------


def _get(mapping: Body, key: str, absent: T) -> T:
    """A value of the type of `absent`, which stands for one that is not there."""
    value: Any = mapping.get(key, absent)
    if type(value) is not type(absent):
        raise _OddError
    found: T = value
    return found


def _part(status: Body, key: str, needs: str = "") -> Body | None:
    """A part of the status that need not be there, and what it must have if it is."""
    part = status.get(key)
    if part is not None and (type(part) is not dict or (needs and needs not in part)):
        raise _OddError
    return part


def _time(value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise _OddError from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _identity(spec: Body) -> Identity | None:
    try:
        return parse_identity(spec.get("identity"), where="spec.identity")
    except IdentityError:
        return None


# -- cells ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _common(text: str) -> Cell:
    """A cell whose text many rows have: they share it."""
    return Cell(clean(text))


def _identity_cells(identity: Identity | None) -> tuple[Cell, Cell, Cell, Cell]:
    if identity is None:
        return (_UNKNOWN,) * 4
    parallelism = f"{identity.tensor_parallel_size}/{identity.pipeline_parallel_size}"
    dtype = _common(identity.dtype) if identity.dtype else NONE
    return _common(identity.model), _common(identity.framework), _common(parallelism), dtype


def _phase(phase: str, status: Body, packed: bytes) -> Cell:
    progress = phase == names.Phase.CREATING and status.get("progress")
    return phase_cell(phase, checkpoint_of(packed).status.progress if progress else None)


def _artifact_cells(artifact: Body | None) -> tuple[Cell, Cell, Cell]:
    """Size, what is unique of it, how long the cold start took."""
    if artifact is None:
        return NONE, NONE, NONE
    size, unique = _get(artifact, "bytes", 0), artifact.get("uniqueBytes")
    return (
        Cell(human_bytes(size)) if size > 0 else NONE,
        NONE if unique is None else Cell(human_bytes(_get(artifact, "uniqueBytes", 0))),
        _seconds(artifact, "coldStartSeconds"),
    )


def _seconds(part: Body, key: str) -> Cell:
    seconds = part.get(key, 0)
    if type(seconds) not in (int, float):
        raise _OddError
    return Cell(human_seconds(seconds)) if seconds > 0 else NONE


def _count(number: int) -> Cell:
    return _common(str(number)) if number else NONE


def _nodes(artifact: Body | None, status: Body) -> Cell:
    """Where it was captured and where it is cached: how many when there is no room for all."""
    node = _get(artifact, "node", "") if artifact else ""
    copies: list[Any] = _get(status, "caches", [])
    if not copies:
        return _common(node) if node else NONE
    if not all(type(copy) is dict and "node" in copy for copy in copies):
        raise _OddError
    nodes = [*dict.fromkeys([*([node] if node else []), *(_get(copy, "node", "") for copy in copies)])]
    shorter = (clean(f"{nodes[0]}+{len(nodes) - 1}"), str(len(nodes))) if len(nodes) > 1 else ()
    return Cell(clean(",".join(nodes)), shorter=shorter)


def _notes(annotations: Body, status: Body, packed: bytes) -> Cell:
    """What somebody has asked for: that it stays, that it goes, that it is read back."""
    if names.ANNOTATION_DELETE_AFTER in annotations:
        from kubectl_chrek.ops.retention import delete_after

        due = delete_after(checkpoint_of(packed))
        if due is not None:
            return Cell(f"⌫ at {due:%H:%M}", Tone.WARNING)
    result = (_part(status, "verification") or _EMPTY).get("result")
    if result == "corrupt":
        return Cell("✗ corrupt", Tone.BAD)
    if result == "running":
        return Cell("◐ verifying", Tone.BUSY)
    pinned = _get(annotations, names.ANNOTATION_PIN, "") not in ("", "false")
    return Cell("◆ pinned") if pinned else NONE
