"""Objects in memory, and the bounded history that watches read."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from kubectl_chrek.local.apiserver.failures import expired
from kubectl_chrek.local.apiserver.objects import Body

HISTORY: Final = 2000
BEGINNING: Final = 100
"""The version before the first object; watches from an older one have expired, as on a server with a past."""
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Change:
    """One write; `object` is the state after it (the last state, for DELETED), `previous` the state before."""

    version: int
    type: ChangeType
    resource: str
    object: Body
    previous: Body | None


class Store:
    """All objects by resource, namespace and name.

    Bodies are shared with the callers, who must not change them: every write puts a new one. There are no awaits between a read
    and its write, so each request is atomic.
    """

    def __init__(self, history: int = HISTORY) -> None:
        self.version = BEGINNING
        self._objects: defaultdict[str, dict[tuple[str, str], Body]] = defaultdict(dict)
        self._history: defaultdict[str, deque[Change]] = defaultdict(lambda: deque(maxlen=history))
        self._forgotten: defaultdict[str, int] = defaultdict(lambda: BEGINNING)
        self._wake: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._listeners: list[Callable[[Change], None]] = []

    def get(self, resource: str, namespace: str, name: str) -> Body | None:
        """The object, or None."""
        return self._objects[resource].get((namespace, name))

    def objects(self, resource: str, namespace: str = "") -> Iterable[Body]:
        """Objects by namespace and name; without a namespace, of all namespaces."""
        found = self._objects[resource]
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def everything(self) -> Iterable[tuple[str, Body]]:
        """All objects with their resource."""
        return [(resource, body) for resource, found in self._objects.items() for body in found.values()]

    def put(self, resource: str, body: Body) -> Body:
        """Writes an object, which gets the next resourceVersion."""
        key = _key(body)
        previous = self._objects[resource].get(key)
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._objects[resource][key] = body
        self._record(Change(self.version, "MODIFIED" if previous else "ADDED", resource, body, previous))
        return body

    def remove(self, resource: str, namespace: str, name: str) -> Body:
        """Takes an object out; the answer is its last state, with the resourceVersion of the removal."""
        previous = self._objects[resource].pop((namespace, name))
        self.version += 1
        last = previous | {"metadata": previous["metadata"] | {"resourceVersion": str(self.version)}}
        self._record(Change(self.version, "DELETED", resource, last, previous))
        return last

    def changes(self, resource: str, after: int) -> list[Change]:
        """What happened after a version, oldest first. Raises ApiError (410) when the history no longer knows."""
        if after < self._forgotten[resource]:
            raise expired(f"too old resource version: {after} ({self._forgotten[resource]})")
        found: list[Change] = []
        for change in reversed(self._history[resource]):
            if change.version <= after:
                break
            found.append(change)
        return found[::-1]

    def next_change(self, resource: str) -> asyncio.Event:
        """Set by the next write to a resource; to be asked for before `changes`, so that none is missed."""
        return self._wake[resource]

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Calls the listener after every write; it must not write itself."""
        self._listeners.append(listener)

    def _record(self, change: Change) -> None:
        history = self._history[change.resource]
        if len(history) == history.maxlen:
            self._forgotten[change.resource] = history[0].version
        history.append(change)
        self._wake.pop(change.resource, asyncio.Event()).set()
        for listener in self._listeners:
            listener(change)


def _key(body: Body) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]
