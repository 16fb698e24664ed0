"""PATCH and the subresources that write: scale, binding, eviction."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.deletion import delete
from kubectl_chrek.local.apiserver.engine import Engine
from kubectl_chrek.local.apiserver.failures import (
    ApiError,
    bad_request,
    conflict,
    invalid,
    invalid_options,
    not_found,
    rejected,
    required,
    unsupported_media_type,
)
from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body, clone, dig, timestamp
from kubectl_chrek.local.apiserver.patching import json_patch, merge_patch, strategic_patch
from kubectl_chrek.local.apiserver.patching.apply import apply
from kubectl_chrek.local.apiserver.patching.fields import shape_of
from kubectl_chrek.local.apiserver.schemas.shape import prune
from kubectl_chrek.local.apiserver.schemas.types import decode
from kubectl_chrek.local.apiserver.store import Change

_SCALE: Final = Kind("autoscaling", "v1", "Scale", "")
_APPLY: Final = "application/apply-patch+yaml"
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_PATCHES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge_patch,
}


class Writer:
    """Changes by patches; it remembers what each manager applied. Every method raises ApiError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._applied: defaultdict[str, dict[str, Body]] = defaultdict(dict)
        engine.store.listen(self._forget)

    def patch(self, call: Call, media: str, patch: Any) -> tuple[Body, bool]:
        """The patched object, and whether it is new."""
        accepted = [*_PATCHES, *([] if call.kind.custom else [_STRATEGIC]), _APPLY]
        if media not in accepted:
            raise unsupported_media_type(accepted)
        if media == _APPLY:
            return self._apply(call, patch)
        return self._engine.update(call, lambda body: _patched(body, media, patch, call.kind.kind)), False

    def scale(self, call: Call, change: Callable[[Body], Body]) -> Body:
        """The Scale after a change of it."""
        scale = change(read_scale(self._engine.get(call)))
        replicas = dig(scale, "spec", "replicas") or 0
        if not isinstance(replicas, int) or replicas < 0:
            raise rejected(_SCALE, call.name, [invalid("spec.replicas", replicas, "must be greater than or equal to 0")])
        version = scale["metadata"].get("resourceVersion")
        if version and version != self._engine.get(call)["metadata"]["resourceVersion"]:
            raise conflict(call.kind, call.name)
        return read_scale(self._engine.update(call, lambda body: body | {"spec": body["spec"] | {"replicas": replicas}}))

    def scale_patch(self, call: Call, media: str, patch: Any) -> Body:
        """The Scale after a patch of it."""
        if media not in (*_PATCHES, _STRATEGIC):
            raise unsupported_media_type([*_PATCHES, _STRATEGIC])
        return self.scale(call, lambda scale: _patched(scale, media, patch, "Scale"))

    def bind(self, call: Call, binding: Body) -> None:
        """Assigns a pod to a node."""
        node = dig(binding, "target", "name")
        if not node:
            raise rejected(call.kind, call.name, [required("target.name")])

        def assign(pod: Body) -> Body:
            if pod["metadata"].get("deletionTimestamp"):
                raise conflict(call.kind, call.name, f"pod {call.name} is being deleted, cannot be assigned to a host")
            if pod["spec"].get("nodeName"):
                raise conflict(call.kind, call.name, f"pod {call.name} is already assigned to node {pod['spec']['nodeName']!r}")
            pod["spec"]["nodeName"] = node
            condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
            conditions = [item for item in dig(pod, "status", "conditions") or [] if item["type"] != "PodScheduled"]
            pod["status"] = pod["status"] | {"conditions": [*conditions, condition]}
            return pod

        self._engine.update(call, assign)

    def evict(self, call: Call, eviction: Body) -> None:
        """Deletes a pod by its eviction; there are no disruption budgets here."""
        delete(self._engine, call, eviction.get("deleteOptions") or {})

    def _apply(self, call: Call, applied: Any) -> tuple[Body, bool]:
        manager = call.query.get("fieldManager", "")
        if not manager:
            raise invalid_options("PatchOptions", [required("fieldManager", "is required for apply patch")])
        if not isinstance(applied, dict) or not applied.get("kind") or not applied.get("apiVersion"):
            raise bad_request("invalid object type: /, Kind=")
        if dig(applied, "metadata", "managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        _refuse_unknown(call, applied)
        live = self._engine.store.get(call.kind.resource, call.namespace, call.name)
        if live is None and call.subresource:
            raise not_found(call.kind, call.name)
        if live is None:
            body = clone(applied)
            body.setdefault("metadata", {}).setdefault("name", call.name)
            created = self._engine.create(call, body)
            self._remember(call, created, manager, applied)
            return created, True
        known = self._applied[live["metadata"]["uid"]]
        others = {name: body for name, body in known.items() if name != manager}
        force, shape = call.flag("force"), shape_of(call.kind)
        changed = self._engine.update(
            call, lambda body: apply(body, clone(applied), shape, known.get(manager), others, force=force)
        )
        self._remember(call, changed, manager, applied)
        return changed, False

    def _remember(self, call: Call, body: Body, manager: str, applied: Body) -> None:
        if not call.dry_run:
            self._applied[body["metadata"]["uid"]][manager] = applied

    def _forget(self, change: Change) -> None:
        if change.type == "DELETED":
            self._applied.pop(change.object["metadata"]["uid"], None)


def _refuse_unknown(call: Call, applied: Body) -> None:
    """Of what is applied, unlike of what is created, a field that the schema does not know is refused in every mode."""
    body, kind = clone(applied), call.kind
    body.setdefault("metadata", {})
    unknown = [*decode(kind, body), *(prune(kind.schema, body) if kind.schema is not None else [])]
    if unknown:
        about = f"({body['metadata'].get('namespace', '')}/{call.name}; {kind.group}/{kind.version}, Kind={kind.kind})"
        raise ApiError(500, "", f"failed to create typed patch object {about}: .{min(unknown)}: field not declared in schema")


def read_scale(body: Body) -> Body:
    """A workload's Scale."""
    metadata = {key: body["metadata"].get(key) for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    labels = dig(body, "spec", "selector", "matchLabels") or {}
    status: Body = {"replicas": dig(body, "status", "replicas") or 0}
    status["selector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    replicas = body["spec"].get("replicas", 1)
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def _patched(body: Body, media: str, patch: Any, message: str) -> Body:
    found = strategic_patch(body, patch, message) if media == _STRATEGIC else _PATCHES[media](body, patch)
    if not isinstance(found, dict):
        raise bad_request("a patched object must be an object")
    return found
