"""What a controller's plan says to do. Plain values: the plans are pure, `running` carries them out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.cluster import Resource
from kubectl_chrek.local.events import Type

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object; its owner hears of it by an event."""

    resource: Resource
    body: Object
    owner: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete this very object; `owner` None means that nobody is to hear of it."""

    resource: Resource
    object: Object
    owner: Object | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Merge into the object or, with `subresource`, into its status."""

    resource: Resource
    object: Object
    patch: Object
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Bind:
    """Give the pod to a node."""

    pod: Object
    node: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Note an event about an object."""

    object: Object
    type: Type
    reason: str
    message: str


Action = Create | Delete | Patch | Bind | Emit


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and after how many seconds to look again even if nothing changes."""

    actions: tuple[Action, ...] = ()
    after: float | None = None


def status_patch(resource: Resource, found: Object, status: Object) -> list[Action]:
    """A patch of the status, if it is not so already. A key that has no value any more is removed."""
    before = found.get("status") or {}
    changed = {key: value for key, value in status.items() if before.get(key) != value}
    return [Patch(resource, found, {"status": changed}, "status")] if changed else []
