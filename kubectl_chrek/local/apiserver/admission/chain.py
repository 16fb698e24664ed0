"""All webhooks of one write, one after the other: first those that change it, then those that only judge it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from kubectl_chrek.local.apiserver.admission.calling import ask
from kubectl_chrek.local.apiserver.admission.configuration import MUTATING, VALIDATING, Operation, Webhook
from kubectl_chrek.local.apiserver.admission.matching import Write, concerns, may_concern, webhooks
from kubectl_chrek.local.apiserver.admission.review import Verdict, WebhookError
from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import ApiError, conflict
from kubectl_chrek.local.apiserver.objects import Body, clone
from kubectl_chrek.local.apiserver.patching import json_patch
from kubectl_chrek.local.apiserver.store import Store

_LOG: Final = logging.getLogger(__name__)
_ATTEMPTS: Final = 5
_EXEMPT: Final = "admissionregistration.k8s.io"
_UNSET: Final = ("uid", "creationTimestamp", "generation", "resourceVersion")

Perform = Callable[[Call], Body]


class Admission:
    """The webhooks of a server. Every method raises ApiError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def wanted(self, call: Call, operation: Operation) -> bool:
        """Whether any webhook may have a say in such a write."""
        if call.kind.group == _EXEMPT:
            return False
        found = (hook for resource in (MUTATING, VALIDATING) for hook in webhooks(self._store, resource))
        return any(may_concern(hook, call, operation) for hook in found)

    async def write(self, call: Call, operation: Operation, perform: Perform) -> Body:
        """A create or update as the webhooks make it; `perform` does the write that a call describes, and may do so dryly.

        It is done dryly for each sort of webhook, and for real when the object is still what it was: a write in between starts
        it all over.
        """
        dry = replace(call, query={**call.query, "dryRun": "All"})
        for _ in range(_ATTEMPTS):
            old = self._current(call)
            new = _unmade(perform(replace(dry, warnings=[])), old, call)
            patches = await self._mutate(Write(call, operation, new, old))
            amend = (lambda body, found=patches: _amended(body, found)) if patches else None
            final = perform(replace(dry, amend=amend, warnings=[]))
            await self._validate(Write(call, operation, final, old))
            if _version(self._current(call)) == _version(old):
                return perform(replace(call, amend=amend))
        raise conflict(call.kind, call.name)

    async def delete(self, call: Call) -> None:
        """Asks about a deletion."""
        write = Write(call, "DELETE", None, self._current(call))
        await self._mutate(write)
        await self._validate(write)

    async def _mutate(self, write: Write) -> list[Body]:
        """All patches of the mutating webhooks, in order."""
        patches: list[Body] = []
        left: dict[str, Body | None] = {}
        for again in (False, True):
            for hook in webhooks(self._store, MUTATING):
                if again and (not hook.reinvoked or left.get(hook.name, write.new) == write.new):
                    continue
                if not concerns(hook, write, self._store):
                    continue
                patch = await self._asked(hook, write)
                if patch and write.new is not None:
                    write = replace(write, new=_amended(clone(write.new), patch))
                    patches += patch
                left[hook.name] = write.new
        return patches

    async def _validate(self, write: Write) -> None:
        for hook in webhooks(self._store, VALIDATING):
            if concerns(hook, write, self._store):
                await self._asked(hook, write)

    async def _asked(self, hook: Webhook, write: Write) -> list[Body]:
        """The webhook's patch; its refusal is raised, and so is its failure if it must not fail."""
        try:
            verdict: Verdict = await ask(hook, write, self._store)
        except WebhookError as error:
            text = f'failed calling webhook "{hook.name}": failed to call webhook: {error}'
            if hook.ignores_failures:
                _LOG.warning("%s; it is ignored", text)
                return []
            raise ApiError(500, "InternalError", f"Internal error occurred: {text}") from error
        write.call.warnings.extend(text for text in verdict.warnings if text not in write.call.warnings)
        if verdict.refusal is not None:
            raise verdict.refusal
        return verdict.patch

    def _current(self, call: Call) -> Body | None:
        return self._store.get(call.kind.resource, call.namespace, call.name) if call.name else None


def _version(body: Body | None) -> Any:
    return body["metadata"]["resourceVersion"] if body is not None else None


def _amended(body: Body, patches: list[Body]) -> Body:
    amended = json_patch(body, patches)
    if not isinstance(amended, dict):
        raise ApiError(500, "InternalError", "Internal error occurred: a webhook's patch leaves no object")
    return amended


def _unmade(body: Body, old: Body | None, call: Call) -> Body:
    """A new object as mutating webhooks see it: without what the server sets when it stores it."""
    body = clone(body)
    if old is None:
        for key in _UNSET:
            body["metadata"].pop(key, None)
        if body["metadata"].get("generateName") and not call.name:
            body["metadata"].pop("name", None)
    return body
