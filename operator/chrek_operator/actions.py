"""What planners decide and the reconciler does: one value per request to the API server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_chrek.cluster import Resource

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """Creates an object."""

    resource: Resource
    body: Body


@dataclass(frozen=True, slots=True)
class Ensure:
    """Creates an object, or gives the present one these contents."""

    resource: Resource
    body: Body


@dataclass(frozen=True, slots=True)
class Provide:
    """Creates an object unless there is one of its name, whatever that looks like."""

    resource: Resource
    body: Body


@dataclass(frozen=True, slots=True)
class Replace:
    """Puts a whole object in place of the one with its resourceVersion."""

    resource: Resource
    body: Body


@dataclass(frozen=True, slots=True)
class Patch:
    """Merges a patch into an object or, with a subresource, into that part of it."""

    resource: Resource
    name: str
    patch: Body
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes this very object."""

    resource: Resource
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Posts an Event about an object; the same reason, message and `key` are told once."""

    about: Mapping[str, Any]
    reason: str
    message: str
    key: str
    warning: bool = False


Action = Create | Ensure | Provide | Replace | Patch | Delete | Tell


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and in how many seconds to look again (None: at the next event)."""

    actions: tuple[Action, ...] = field(default=())
    recheck: float | None = None
