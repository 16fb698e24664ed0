"""`df` as tables: by model, by checkpoint, and a line for each store."""

from typing import Any

from kubectl_chrek.ops.formatting import NONE, UNKNOWN, human_bytes
from kubectl_chrek.ops.usage import Group, Report

Table = tuple[list[str], list[list[str]]]


def group_table(report: Report) -> Table:
    """A row for each backend and model, and one for all if there are several."""
    rows = [_group_row(group) for group in report.groups]
    if len(report.groups) > 1:
        rows.append([*_group_row(report.total)[2:]])
        rows[-1] = ["<all>", "", *rows[-1]]
    return ["BACKEND", "MODEL", "CHECKPOINTS", "ACTIVE", "LOGICAL", "STORED", "RECLAIMABLE"], rows


def checkpoint_table(report: Report, *, namespaces: bool) -> Table:
    """A row for each checkpoint, the largest of each model first."""
    rows = []
    for group in report.groups:
        for usage in group.usages:
            sizes = [human_bytes(size) for size in (usage.logical, usage.stored, usage.shared, usage.unique)]
            cells = [usage.name, usage.model or NONE, group.backend or UNKNOWN, *sizes, "yes" if usage.active else "no"]
            rows.append([usage.namespace] * namespaces + cells)
    headers = ["NAME", "MODEL", "BACKEND", "LOGICAL", "STORED", "SHARED", "UNIQUE", "ACTIVE"]
    return ["NAMESPACE"] * namespaces + headers, rows


def store_notes(report: Report) -> list[str]:
    """What agents say of each store."""
    lines = []
    for store in report.stores:
        parts = (
            f"{human_bytes(store.stored_bytes) if store.stored_bytes is not None else UNKNOWN} stored",
            f"{human_bytes(store.logical_bytes)} logical" if store.logical_bytes is not None else "",
            f"{human_bytes(store.reclaimable_bytes)} wait for the sweep" if store.reclaimable_bytes else "",
            f"{human_bytes(store.free_bytes)} of {human_bytes(store.total_bytes)} free"
            if store.free_bytes is not None and store.total_bytes
            else "",
        )
        lines.append(f"{store.type or UNKNOWN} {store.location}: {', '.join(filter(None, parts))}")
    return lines


def to_dict(report: Report) -> dict[str, Any]:
    """For -o json and yaml."""
    return {
        "groups": [group.to_dict() | {"items": [usage.to_dict() for usage in group.usages]} for group in report.groups],
        "stores": [store.model_dump(mode="json", by_alias=True, exclude_none=True) for store in report.stores],
        "total": {key: value for key, value in report.total.to_dict().items() if key not in ("backend", "model")},
    }


def _group_row(group: Group) -> list[str]:
    counts = [str(len(group.usages)), str(group.active), human_bytes(group.logical), human_bytes(group.stored)]
    return [
        group.backend or UNKNOWN,
        group.model or NONE,
        *counts,
        f"{human_bytes(group.reclaimable)} ({group.reclaimable_share:.0%})",
    ]
