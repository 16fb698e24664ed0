"""A checkpoint as a row of a table, straight from the server's JSON, of which only what the row shows is made into objects.

Of ten thousand checkpoints all else would take most of the time, and nobody looks at it.

What an agent or a person has written as it should not be is `<unknown>`, never an error: the other rows are good.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_age, human_bytes, human_duration, human_seconds
from kubectl_chrek.ops.marks import delete_after, parse_pin

Body = Mapping[str, Any]

COLUMNS: Final = ("NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE")
WIDE_COLUMNS: Final = (
    *COLUMNS,
    *("SIZE", "UNIQUE", "NODE", "CACHES", "COLD-START", "LAST-RESTORE", "RESTORES", "COLD-STARTS", "PINNED", "DELETES-IN"),
)


def read_page(text: bytes) -> Any:
    """A list of checkpoints in the server's JSON, with as much of each as rows show; ValueError if it is no JSON.

    One that is not shaped as it should be is read in full: `row` copes with it.
    """
    try:
        return _page().validate_json(text)
    except ValueError:
        return json.loads(text)


@cache
def _page() -> Any:
    from pydantic_core import SchemaValidator, core_schema

    def having(**fields: Any) -> Any:
        wanted = {name: core_schema.typed_dict_field(schema, required=False) for name, schema in fields.items()}
        return core_schema.nullable_schema(core_schema.typed_dict_schema(wanted, extra_behavior="ignore"))

    whole = core_schema.any_schema()
    artifact = having(bytes=whole, uniqueBytes=whole, node=whole, coldStartSeconds=whole)
    restore = having(result=whole, seconds=whole, reason=whole)
    counts = {"caches": whole, "restores": whole, "coldStarts": whole}
    item = having(
        metadata=having(name=whole, namespace=whole, creationTimestamp=whole, labels=whole, annotations=whole),
        spec=having(identity=whole),
        status=having(phase=whole, artifact=artifact, lastRestore=restore, **counts),
    )
    return SchemaValidator(having(items=core_schema.list_schema(item), metadata=whole))


def headers(*, wide: bool, namespaces: bool) -> list[str]:
    """The columns of a table."""
    return ["NAMESPACE"] * namespaces + list(WIDE_COLUMNS if wide else COLUMNS)


def row(body: Body, now: datetime, *, wide: bool, namespaces: bool) -> list[str]:
    """The cells of one checkpoint."""
    metadata, status = body["metadata"], _mapping(body, "status")
    identity = _mapping(_mapping(body, "spec"), "identity")
    cells = [
        metadata["name"],
        str(identity.get("model") or NONE),
        str(identity.get("backendFramework") or NONE),
        str(status.get("phase") or names.Phase.PENDING),
        _hash(identity),
        human_age(_moment(metadata.get("creationTimestamp")), now),
    ]
    if wide:
        cells += _wide_cells(metadata, status, now)
    return [metadata.get("namespace", "")] * namespaces + cells


def label_headers(columns: Sequence[str], *, everything: bool) -> list[str]:
    """Titles of the columns of `-L` and `--show-labels`."""
    return [column.rpartition("/")[2].upper() for column in columns] + ["LABELS"] * everything


def label_cells(body: Body, columns: Sequence[str], *, everything: bool) -> list[str]:
    """Their cells."""
    if not columns and not everything:
        return []
    labels: Mapping[str, str] = body["metadata"].get("labels") or {}
    joined = ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE
    return [labels.get(column) or NONE for column in columns] + [joined] * everything


def _wide_cells(metadata: Body, status: Body, now: datetime) -> list[str]:
    artifact, restore = _mapping(status, "artifact"), _mapping(status, "lastRestore")
    annotations = _mapping(metadata, "annotations")
    pin, due = parse_pin(annotations.get(names.ANNOTATION_PIN, "")), delete_after(annotations)
    unique = artifact.get("uniqueBytes")
    return [
        _bytes(artifact.get("bytes", 0)) if artifact else NONE,
        NONE if not artifact else UNKNOWN if unique is None else _bytes(unique),
        str(artifact.get("node") or NONE),
        _caches(status.get("caches")),
        _seconds(artifact.get("coldStartSeconds")) if artifact.get("coldStartSeconds") else NONE,
        _restore(restore),
        str(status.get("restores") or 0),
        str(status.get("coldStarts") or 0),
        NONE if pin is None else pin.by or "yes",
        NONE if due is None else human_duration(max((due - now).total_seconds(), 0)),
    ]


def _mapping(holder: Body, key: str) -> Body:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _hash(identity: Body) -> str:
    try:
        return parse_identity(identity).hash
    except IdentityError:
        return UNKNOWN


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _bytes(count: object) -> str:
    return human_bytes(count) if isinstance(count, int) and count >= 0 else UNKNOWN


def _seconds(seconds: object) -> str:
    return human_seconds(seconds) if isinstance(seconds, int | float) else UNKNOWN


def _caches(copies: object) -> str:
    """The nodes that hold it, or a part of it; not those that only say why they do not."""
    found = [copy for copy in copies if isinstance(copy, dict)] if isinstance(copies, list) else []
    return ",".join(str(copy.get("node")) for copy in found if copy.get("bytes") or not copy.get("message")) or NONE


def _restore(restore: Body) -> str:
    """How the last restore went: its time, or why it was none."""
    if not restore.get("result"):
        return NONE
    return _seconds(restore.get("seconds", 0)) if restore["result"] == "restored" else f"cold: {restore.get('reason') or UNKNOWN}"
