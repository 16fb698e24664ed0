"""Rows of custom resources, by their additionalPrinterColumns."""

import json
from collections.abc import Sequence
from typing import Any

from kubectl_chrek.local.apiserver.kinds import Column
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.tables.durations import age
from kubectl_chrek.local.apiserver.tables.jsonpath import find


def custom_row(columns: Sequence[Column], body: Body) -> list[Any]:
    """One cell for each column; null where there is no value."""
    return [_cell(column, find(column.path, body)) for column in columns]


def _cell(column: Column, values: list[Any]) -> Any:
    if not values or values[0] is None:
        return "<unknown>" if column.type == "date" else None
    value = values[0] if len(values) == 1 else values
    match column.type:
        case "date":
            return age(value) if isinstance(value, str) else "<invalid>"
        case "integer" | "number":
            return value if isinstance(value, int | float) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case _:
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
