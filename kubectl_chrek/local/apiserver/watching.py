"""Watches: from a version on, through selectors, until their time is up."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Final

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import ApiError, bad_request
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.presenting import event, form
from kubectl_chrek.local.apiserver.reading import selects
from kubectl_chrek.local.apiserver.store import Change, Store

_BOOKMARK_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = (1800, 3600)
_INITIAL_END: Final = "k8s.io/initial-events-end"


class Watch:
    """One watch. Raises ApiError (400, 406) for a call that asks for nonsense."""

    def __init__(self, store: Store, call: Call) -> None:
        form(call.accept)
        self._store = store
        self._call = call
        self._test = selects(call)
        self._headed = True
        self._after, self._initial = _start(call)
        self._bookmarks = call.flag("allowWatchBookmarks")
        seconds = call.number("timeoutSeconds") or random.uniform(*_WATCH_SECONDS)  # noqa: S311 - spreads reconnections
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + seconds

    async def events(self) -> AsyncIterator[Body]:
        """What happens; a version that the history has forgotten ends it with an ERROR event."""
        for shown in self._present():
            yield shown
        while True:
            wake = self._store.next_change(self._call.kind.resource)
            try:
                changes = self._store.changes(self._call.kind.resource, self._after)
            except ApiError as error:
                yield {"type": "ERROR", "object": error.status}
                return
            for change in changes:
                self._after = change.version
                seen = self._seen(change)
                if seen:
                    yield self._event(*seen)
            if changes or await self._woken(wake):
                continue
            if self._bookmarks:
                yield self._event("BOOKMARK", self._bookmark())
            if self._clock() >= self._deadline:
                return

    def _present(self) -> Iterator[Body]:
        """What is there already, if the call asks for it."""
        if self._after:
            return
        self._after = self._store.version
        if self._initial == "false":
            return
        for body in self._store.objects(self._call.kind.resource, self._call.namespace):
            if self._test(body):
                yield self._event("ADDED", body)
        if self._initial == "true" and self._bookmarks:
            yield self._event("BOOKMARK", self._bookmark({"annotations": {_INITIAL_END: "true"}}))

    async def _woken(self, wake: asyncio.Event) -> bool:
        """Waits for a change, at most until a bookmark is due; False if there was none."""
        left = self._deadline - self._clock()
        if left > 0:
            try:
                await asyncio.wait_for(wake.wait(), min(left, _BOOKMARK_SECONDS))
                return True
            except TimeoutError:
                pass
        if not self._store.changes(self._call.kind.resource, self._after):
            self._after = self._store.version
        return False

    def _seen(self, change: Change) -> tuple[str, Body] | None:
        """How a change looks through the selectors: what stops matching is deleted, what begins to match is added."""
        if self._call.namespace and change.object["metadata"].get("namespace") != self._call.namespace:
            return None
        before = change.previous is not None and self._test(change.previous)
        if change.type == "DELETED":
            return ("DELETED", change.object) if before else None
        if self._test(change.object):
            return ("MODIFIED" if before else "ADDED"), change.object
        if before and change.previous is not None:
            version = {"resourceVersion": str(change.version)}
            return "DELETED", change.previous | {"metadata": change.previous["metadata"] | version}
        return None

    def _event(self, kind: str, body: Body) -> Body:
        shown = event(self._call, kind, body, headed=self._headed)
        self._headed = self._headed and kind == "BOOKMARK"
        return shown

    def _bookmark(self, more: Body | None = None) -> Body:
        metadata = {"resourceVersion": str(self._after)} | (more or {})
        return {"kind": self._call.kind.kind, "apiVersion": self._call.kind.api_version, "metadata": metadata}


def _start(call: Call) -> tuple[int, str]:
    """The version to begin after (0: with what is there), and `sendInitialEvents`."""
    text, initial = call.query.get("resourceVersion", ""), call.query.get("sendInitialEvents", "")
    if initial == "true" and call.query.get("resourceVersionMatch") != "NotOlderThan":
        raise bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    return (0 if initial == "true" else int(text or 0)), initial
