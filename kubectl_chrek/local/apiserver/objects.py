"""What every module here needs of a Kubernetes object: its type, its time format, reading along a path."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Body = dict[str, Any]


def timestamp(moment: datetime | None = None) -> str:
    """A moment (default now) as metav1.Time prints it: UTC, whole seconds."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime | None:
    """The moment of a timestamp, None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def dig(body: Mapping[str, Any] | None, *path: str) -> Any:
    """The value at a path of keys, None if anything on the way is missing."""
    here: Any = body
    for key in path:
        if not isinstance(here, Mapping):
            return None
        here = here.get(key)
    return here


def clone(body: Body) -> Body:
    """A deep copy: what is in the store is never changed in place."""
    return copy.deepcopy(body)


def without(body: Body, *keys: str) -> Body:
    """A shallow copy less some keys."""
    return {key: value for key, value in body.items() if key not in keys}
