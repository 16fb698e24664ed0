"""What people's marks on a checkpoint mean: who pinned it, and when it is to be deleted. Pure, and quick to import."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kubectl_chrek.api import names

_FALSE: Final = ("", "false")


@dataclass(frozen=True, slots=True)
class Pin:
    """Who pinned a checkpoint, why and when; each may be unknown."""

    by: str = ""
    note: str = ""
    at: str = ""
    """RFC 3339."""

    def __str__(self) -> str:
        """For people: `alice: demo on Friday`."""
        return ": ".join(filter(None, (self.by, self.note))) or "yes"


def parse_pin(text: str) -> Pin | None:
    """The pin that the annotation's value is; None for none. Any word but `false` is one, told or not."""
    if text in _FALSE:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return Pin(note="" if text == "true" else text)
    fields = found if isinstance(found, Mapping) else {}
    return Pin(*(str(fields.get(name) or "") for name in ("by", "note", "at")))


def delete_after(annotations: Mapping[str, str]) -> datetime | None:
    """When the operator deletes it; None when it is not to be deleted, or the annotation is no time."""
    try:
        due = datetime.fromisoformat(annotations.get(names.ANNOTATION_DELETE_AFTER, ""))
    except ValueError:
        return None
    return due if due.tzinfo else None
