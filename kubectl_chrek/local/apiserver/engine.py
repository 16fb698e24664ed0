"""Creating and changing objects: what happens to a body between the wire and the store."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from kubectl_chrek.local.apiserver.builtins import strategy
from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.definitions import accept_definition
from kubectl_chrek.local.apiserver.failures import (
    ApiError,
    Flaw,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
    refused,
    rejected,
)
from kubectl_chrek.local.apiserver.kinds import CUSTOM_RESOURCES, NAMESPACES, Kind
from kubectl_chrek.local.apiserver.names import check_metadata
from kubectl_chrek.local.apiserver.objects import Body, clone, dig, timestamp, without
from kubectl_chrek.local.apiserver.registry import Registry
from kubectl_chrek.local.apiserver.schemas.shape import fill, prune
from kubectl_chrek.local.apiserver.schemas.types import decode
from kubectl_chrek.local.apiserver.schemas.validation import validate
from kubectl_chrek.local.apiserver.store import Store

_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"
_SERVER_OWNED: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace")
_CONDITIONAL: Final = frozenset(("leases.coordination.k8s.io", CUSTOM_RESOURCES.resource))


class Engine:
    """All writes but deletions. Every method raises ApiError, and is atomic: none of them awaits."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry

    def get(self, call: Call) -> Body:
        """The stored object, not to be changed. Raises ApiError (404)."""
        found = self.store.get(call.kind.resource, call.namespace, call.name)
        if found is None:
            raise not_found(call.kind, call.name)
        return found

    def create(self, call: Call, body: Body) -> Body:
        """Stores a new object."""
        kind = call.kind
        _envelope(call, body)
        metadata = body["metadata"]
        if metadata.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"):
            metadata.pop(key, None)
        self._room(call, metadata.get("name") or "")
        if "status" in kind.subresources:
            body.pop("status", None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        if kind.generations:
            metadata["generation"] = 1
        self._settle(call, body, None)
        if self.store.get(kind.resource, call.namespace, metadata["name"]) is not None:
            raise already_exists(kind, metadata["name"])
        if call.dry_run:
            return body
        return self._put(kind, body)

    def update(self, call: Call, change: Callable[[Body], Body], *, conditional: bool = False) -> Body:
        """Stores what `change` makes of a copy of the object; `conditional` (PUT) asks for a resourceVersion where one is due."""
        old = self.get(call)
        new = change(clone(old))
        _envelope(call, new)
        self._precondition(call, new, old, conditional)
        new = _keep(call, new, old)
        if call.subresource not in ("binding", "finalize"):
            self._settle(call, new, old)
        if new == old:
            return old
        if call.kind.generations and _desired(call.kind, new) != _desired(call.kind, old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if call.dry_run:
            return new
        if finished(new):
            gone = self.remove(call.kind, old)
            new["metadata"]["resourceVersion"] = gone["metadata"]["resourceVersion"]
            return new
        return self._put(call.kind, new)

    def remove(self, kind: Kind, body: Body) -> Body:
        """Takes an object out of the store."""
        if kind.resource == CUSTOM_RESOURCES.resource:
            self.registry.forget(body)
        return self.store.remove(kind.resource, body["metadata"].get("namespace", ""), body["metadata"]["name"])

    def _put(self, kind: Kind, body: Body) -> Body:
        stored = self.store.put(kind.resource, body)
        if kind.resource == CUSTOM_RESOURCES.resource:
            self.registry.define(stored)
            if not stored["status"]["conditions"]:
                accepted = clone(stored)
                accept_definition(accepted)
                self.store.put(kind.resource, accepted)
        return stored

    def _room(self, call: Call, name: str) -> None:
        """Whether the namespace takes new objects."""
        if not call.kind.namespaced:
            return
        space = self.store.get(NAMESPACES.resource, "", call.namespace)
        if space is None:
            raise not_found(NAMESPACES, call.namespace)
        if space["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {call.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise refused(call.kind, name, why, cause)

    def _precondition(self, call: Call, new: Body, old: Body, conditional: bool) -> None:
        uid, is_uid = new["metadata"].get("uid"), old["metadata"]["uid"]
        if uid and uid != is_uid and conditional:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {is_uid}"
            raise conflict(call.kind, call.name, why)
        # A patch is no precondition, and of a custom object's status nothing else of it counts.
        if uid and uid != is_uid and not (call.kind.custom and call.subresource == "status"):
            raise rejected(call.kind, call.name, [invalid("metadata.uid", uid, "field is immutable")])
        wanted, found = new["metadata"].get("resourceVersion") or "0", old["metadata"]["resourceVersion"]
        if wanted == "0" and conditional and (call.kind.custom or call.kind.resource in _CONDITIONAL):
            flaw = Flaw("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update")
            raise rejected(replace(call.kind, kind=call.kind.plural), call.name, [flaw])
        if wanted not in ("0", found):
            raise conflict(call.kind, call.name)

    def _settle(self, call: Call, new: Body, old: Body | None) -> None:
        """Prunes, fills in and validates a body, in place."""
        kind, hooks = call.kind, strategy(call.kind)
        if kind.schema is not None:
            _unknown(call, prune(kind.schema, new))
            fill(kind.schema, new)
        flaws = check_metadata(kind, new)
        if old is not None:
            flaws += _finalizers(new, old)
        if flaws:
            raise rejected(kind, new["metadata"].get("name") or "", flaws)
        hooks.fill(new)
        if call.amend is not None:
            amended = call.amend(new)
            new.clear()
            new.update(amended)
            _unknown(call, decode(kind, new))
            if kind.schema is not None:
                prune(kind.schema, new)
                fill(kind.schema, new)
            hooks.fill(new)
        flaws = hooks.check(new, old)
        if kind.schema is not None:
            flaws += validate(kind.schema, without(new, "metadata"), without(old, "metadata") if old else None)
        if flaws:
            raise rejected(kind, new["metadata"]["name"], flaws)
        if old is None:
            hooks.begin(new)


def finished(body: Body) -> bool:
    """Whether a deleted object has nothing left that holds it."""
    metadata = body["metadata"]
    held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return (
        bool(metadata.get("deletionTimestamp"))
        and not held
        and not (body.get("kind") == "Namespace" and dig(body, "spec", "finalizers"))
    )


def _envelope(call: Call, body: Any) -> None:
    """Checks and completes what every body has: kind, apiVersion, name, namespace."""
    kind = call.kind
    if not isinstance(body, dict) or not isinstance(body.setdefault("metadata", {}), dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
    _typed(kind, body)
    _unknown(call, decode(kind, body))
    metadata = body["metadata"]
    if call.name and not metadata.get("name"):
        raise bad_request(f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided")
    if call.name and metadata["name"] != call.name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.name})")
    if not kind.namespaced:
        metadata.pop("namespace", None)
    elif (metadata.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    else:
        metadata["namespace"] = call.namespace


def _typed(kind: Kind, body: Body) -> None:
    """Checks kind and apiVersion; only of a built-in kind may a body leave them out."""
    if kind.custom and not body.get("kind"):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind}): Object 'Kind' is missing")
    found = body.setdefault("kind", kind.kind)
    version = body.setdefault("apiVersion", "" if kind.custom else kind.api_version)
    if version != kind.api_version:
        wanted = f"the expected API version ({kind.api_version})"
        raise bad_request(f"the API version in the data ({version}) does not match {wanted}")
    if found != kind.kind and kind.custom:
        flaw = invalid("kind", found, f"must be {kind.kind}")
        raise rejected(replace(kind, kind=found), body["metadata"].get("name") or "", [flaw])
    if found != kind.kind:
        raise bad_request(f'{found} in version "{kind.version}" cannot be handled as a {kind.kind}')


def _keep(call: Call, new: Body, old: Body) -> Body:
    """Puts back what this path may not change."""
    if call.subresource == "status":
        return old | {"metadata": dict(old["metadata"])} | ({"status": new["status"]} if "status" in new else {})
    metadata = new["metadata"]
    metadata.pop("managedFields", None)
    for key in _SERVER_OWNED:
        metadata.pop(key, None)
        if key in old["metadata"]:
            metadata[key] = old["metadata"][key]
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
    if "status" in call.kind.subresources and call.subresource != "binding":
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if call.kind.resource == NAMESPACES.resource and call.subresource != "finalize":
        new["spec"] = old["spec"]
    return new


def _desired(kind: Kind, body: Body) -> Body:
    if not kind.custom:
        return {"spec": body.get("spec"), "webhooks": body.get("webhooks")}
    return without(body, "metadata", "status") if "status" in kind.subresources else without(body, "metadata")


def _finalizers(new: Body, old: Body) -> list[Flaw]:
    if not old["metadata"].get("deletionTimestamp"):
        return []
    added = [item for item in new["metadata"].get("finalizers") or [] if item not in (old["metadata"].get("finalizers") or [])]
    if not added:
        return []
    listed = ", ".join(f'"{item}"' for item in added)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [forbidden("metadata.finalizers", why)]


def _unknown(call: Call, paths: list[str]) -> None:
    if not paths or call.validation == "Ignore":
        return
    texts = [f'unknown field "{path}"' for path in sorted(paths)]
    if call.validation == "Strict":
        kind = call.kind
        why = f"strict decoding error: {', '.join(texts)}"
        raise bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
    call.warnings.extend(texts)
