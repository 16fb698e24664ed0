"""What `kubectl get` shows: objects as meta.k8s.io/v1 Tables."""

from collections.abc import Iterable, Sequence

from kubectl_chrek.local.apiserver.kinds import Column, Kind
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.tables.basics import BASICS
from kubectl_chrek.local.apiserver.tables.custom import custom_row
from kubectl_chrek.local.apiserver.tables.layout import Layout
from kubectl_chrek.local.apiserver.tables.pods import PODS
from kubectl_chrek.local.apiserver.tables.workloads import WORKLOADS

_LAYOUTS = {**BASICS, **PODS, **WORKLOADS}


def table(kind: Kind, items: Iterable[Body], metadata: Body, *, include: str = "Metadata", headed: bool = True) -> Body:
    """A Table of some objects of one kind.

    Args:
        kind: Their kind.
        items: The objects.
        metadata: The list's metadata.
        include: How much of each object comes along: None, Metadata or Object.
        headed: Whether the columns are described; a watch does it once.
    """
    layout = _layout(kind)
    rows = [_row(layout, item, include) for item in items]
    answer: Body = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "rows": rows}
    answer["columnDefinitions"] = _definitions(layout.columns) if headed else None
    return answer


def partial(item: Body) -> Body:
    """An object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def _layout(kind: Kind) -> Layout:
    if kind.custom:
        return Layout(kind.columns, lambda body: custom_row(kind.columns, body))
    return _LAYOUTS.get(kind.resource, _LAYOUTS[""])


def _row(layout: Layout, item: Body, include: str) -> Body:
    row: Body = {"cells": layout.row(item)}
    if include != "None":
        row["object"] = item if include == "Object" else partial(item)
    return row


def _definitions(columns: Sequence[Column]) -> list[Body]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]
