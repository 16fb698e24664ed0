"""What the API server holds, as far as it is known here: fed by watches and by the answers to our own writes."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubectl_chrek.local.controllers.pods import owner_uid

Object = dict[str, Any]


class Cache:
    """Objects by UID. A write of ours shows at once, so a plan never repeats what the last one did."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._gone: set[str] = set()

    def put(self, found: Object) -> None:
        """Takes an object, unless a newer state of it is known."""
        uid = found["metadata"]["uid"]
        known = self._objects.get(uid)
        if uid in self._gone or (known is not None and _version(known) > _version(found)):
            return
        self._objects[uid] = found

    def remove(self, found: Mapping[str, Any]) -> None:
        """The object is gone for good."""
        uid = found["metadata"]["uid"]
        self._gone.add(uid)
        self._objects.pop(uid, None)

    def get(self, uid: str) -> Object | None:
        """The object with this UID."""
        return self._objects.get(uid)

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [found for found in self._objects.values() if found["kind"] == kind]

    def owned(self, uid: str, kind: str) -> list[Object]:
        """Objects of a kind whose controller has this UID, the oldest first."""
        return sorted(self._owned(uid, kind), key=lambda found: str(found["metadata"].get("creationTimestamp", "")))

    def _owned(self, uid: str, kind: str) -> Iterator[Object]:
        return (found for found in self._objects.values() if found["kind"] == kind and owner_uid(found) == uid)


def _version(found: Mapping[str, Any]) -> int:
    # Opaque by contract; this cache is only used with the embedded server, whose versions are numbers that grow.
    return int(found["metadata"].get("resourceVersion", 0))
