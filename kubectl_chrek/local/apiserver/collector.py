"""What controllers of a real cluster do about deleted owners, namespaces and definitions."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.deletion import CLEANUP, FOREGROUND, ORPHAN, delete
from kubectl_chrek.local.apiserver.engine import Engine
from kubectl_chrek.local.apiserver.failures import ApiError
from kubectl_chrek.local.apiserver.kinds import NAMESPACES, SERVICE_ACCOUNTS, Kind
from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.store import Change

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Item:
    resource: str
    body: Body

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])

    @property
    def owners(self) -> list[Body]:
        return self.body["metadata"].get("ownerReferences") or []

    @property
    def deleted(self) -> bool:
        return bool(self.body["metadata"].get("deletionTimestamp"))

    def awaits(self, finalizer: str) -> bool:
        return self.deleted and finalizer in (self.body["metadata"].get("finalizers") or [])


class Collector:
    """Runs after each write that can make work for it, until there is none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wake = asyncio.Event()
        engine.store.listen(self._notice)

    async def run(self) -> None:
        """Collects for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._sweep()

    def _notice(self, change: Change) -> None:
        metadata, before = change.object["metadata"], dig(change.previous, "metadata") or {}
        dying = change.type == "DELETED" or metadata.get("deletionTimestamp")
        born = change.type == "ADDED" and change.resource == NAMESPACES.resource
        if dying or born or metadata.get("ownerReferences") != before.get("ownerReferences"):
            self._wake.set()

    def _sweep(self) -> None:
        """One pass; what it writes wakes it again."""
        items = {item.uid: item for item in (_Item(*found) for found in self._engine.store.everything())}
        dependents: dict[str, list[_Item]] = {}
        for item in items.values():
            for owner in item.owners:
                dependents.setdefault(owner.get("uid", ""), []).append(item)
        for item in items.values():
            if item.awaits(ORPHAN):
                self._orphan(item, dependents.get(item.uid, []))
            elif item.awaits(FOREGROUND):
                self._foreground(item, dependents.get(item.uid, []))
            elif item.owners and not item.deleted:
                self._disown(item, items, bool(dependents.get(item.uid)))
        self._sweep_containers(items.values())

    def _sweep_containers(self, items: Collection[_Item]) -> None:
        """Namespaces and definitions go once they are empty."""
        for item in items:
            if item.resource == NAMESPACES.resource and item.deleted:
                self._empty_namespace(item, items)
            elif item.resource == NAMESPACES.resource:
                self._furnish(item.body["metadata"]["name"])
            elif item.awaits(CLEANUP):
                self._empty_definition(item)

    def _disown(self, item: _Item, items: dict[str, _Item], has_dependents: bool) -> None:
        """Deletes an object when all its owners are gone; forgets single ones."""
        solid: list[Body] = []
        waiting = 0
        for reference in item.owners:
            owner = items.get(reference.get("uid", ""))
            if owner is None or (owner.body["kind"], owner.body["metadata"]["name"]) != (reference["kind"], reference["name"]):
                continue
            if owner.awaits(FOREGROUND) and reference.get("blockOwnerDeletion"):
                waiting += 1
            else:
                solid.append(reference)
        if len(solid) == len(item.owners):
            return
        if solid:
            self._rewrite(item, "ownerReferences", solid)
        else:
            self._delete(item, "Foreground" if waiting and has_dependents else "Background")

    def _foreground(self, item: _Item, dependents: list[_Item]) -> None:
        if not any(_blocks(dependent, item.uid) for dependent in dependents):
            self._unfinalize(item, FOREGROUND)

    def _orphan(self, item: _Item, dependents: list[_Item]) -> None:
        for dependent in dependents:
            self._rewrite(dependent, "ownerReferences", [owner for owner in dependent.owners if owner.get("uid") != item.uid])
        self._unfinalize(item, ORPHAN)

    def _empty_namespace(self, space: _Item, items: Iterable[_Item]) -> None:
        name = space.body["metadata"]["name"]
        inside = [item for item in items if item.body["metadata"].get("namespace") == name]
        for item in inside:
            if not item.deleted:
                self._delete(item, "Background")
        left = any(self._present(item) for item in inside)
        if not left and self._present(space):
            call = Call(NAMESPACES, name=name, subresource="finalize")
            self._engine.update(call, lambda body: body | {"spec": body["spec"] | {"finalizers": []}})

    def _furnish(self, namespace: str) -> None:
        """Gives a namespace the service account that pods use by default."""
        if self._engine.store.get(SERVICE_ACCOUNTS.resource, namespace, "default") is None:
            self._engine.create(Call(SERVICE_ACCOUNTS, namespace), {"metadata": {"name": "default"}})

    def _empty_definition(self, definition: _Item) -> None:
        spec = definition.body["spec"]
        resource = f"{spec['names']['plural']}.{spec['group']}"
        instances = [_Item(resource, body) for body in self._engine.store.objects(resource)]
        for instance in instances:
            if not instance.deleted:
                self._delete(instance, "Background")
        if not any(self._present(instance) for instance in instances):
            self._unfinalize(definition, CLEANUP)

    def _present(self, item: _Item) -> bool:
        metadata = item.body["metadata"]
        return self._engine.store.get(item.resource, metadata.get("namespace", ""), metadata["name"]) is not None

    @contextmanager
    def _patient(self, item: _Item) -> Iterator[None]:
        """An object that is gone, or that the server no longer takes as it is, must not stop the collection of others."""
        try:
            yield
        except ApiError as error:
            if error.code != 404:
                _log.warning("cannot collect %s %s: %s", item.resource, item.body["metadata"]["name"], error)

    def _call(self, item: _Item) -> Call:
        metadata = item.body["metadata"]
        kind: Kind = self._engine.registry.stored(item.resource)
        return Call(kind, metadata.get("namespace", ""), metadata["name"])

    def _delete(self, item: _Item, policy: str) -> None:
        with self._patient(item):
            delete(self._engine, self._call(item), {"propagationPolicy": policy, "preconditions": {"uid": item.uid}})

    def _unfinalize(self, item: _Item, finalizer: str) -> None:
        self._rewrite(item, "finalizers", [name for name in item.body["metadata"]["finalizers"] if name != finalizer])

    def _rewrite(self, item: _Item, field: str, value: list[Body] | list[str]) -> None:
        with self._patient(item):
            self._engine.update(self._call(item), lambda body: body | {"metadata": body["metadata"] | {field: value}})


def _blocks(dependent: _Item, uid: str) -> bool:
    return any(owner.get("uid") == uid and owner.get("blockOwnerDeletion") for owner in dependent.owners)
