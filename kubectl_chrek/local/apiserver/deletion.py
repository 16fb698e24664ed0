"""Deleting: preconditions, propagation, finalizers and the grace that pods get."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.engine import Engine, finished
from kubectl_chrek.local.apiserver.failures import unmet
from kubectl_chrek.local.apiserver.kinds import CUSTOM_RESOURCES, JOBS, NAMESPACES, PODS
from kubectl_chrek.local.apiserver.objects import Body, clone, dig, timestamp

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"
_PRECONDITIONS: Final = (
    ("uid", "UID", "might have been deleted and then recreated"),
    ("resourceVersion", "ResourceVersion", "might have been modified"),
)
_FINALIZERS: Final[Mapping[str, str]] = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": "", "nil": ""}


def delete(engine: Engine, call: Call, options: Mapping[str, Any]) -> tuple[Body, bool]:
    """Deletes an object or marks it as being deleted; returns its state, and whether it is gone. Raises ApiError."""
    old = engine.get(call)
    _precondition(call, options, old)
    new = clone(old)
    metadata = new["metadata"]
    if not metadata.get("deletionTimestamp"):
        _finalize(call, options, metadata)
    _mark(new, _grace(call, options, old))
    if call.kind.resource == NAMESPACES.resource:
        new["status"] = {"phase": "Terminating"}
    if call.dry_run:
        return new, finished(new)
    if finished(new):
        return engine.remove(call.kind, old), True
    return (old, False) if new == old else (engine.store.put(call.kind.resource, new), False)


def _precondition(call: Call, options: Mapping[str, Any], old: Body) -> None:
    for key, label, hint in _PRECONDITIONS:
        wanted, found = dig(options, "preconditions", key), old["metadata"][key]
        if wanted and wanted != found:
            why = f"the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). The object {hint}"
            raise unmet(call.kind, call.name, why)


def _finalize(call: Call, options: Mapping[str, Any], metadata: Body) -> None:
    """Adds the finalizer by which the collector learns what becomes of dependents."""
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        policy = "Orphan" if call.kind.resource == JOBS.resource else ""
    finalizers = list(metadata.get("finalizers") or [])
    if policy:
        finalizers = [item for item in finalizers if item not in (FOREGROUND, ORPHAN)]
        finalizers += [_FINALIZERS[policy]] if _FINALIZERS[policy] else []
    if call.kind.resource == CUSTOM_RESOURCES.resource:
        finalizers.append(CLEANUP)
    metadata["finalizers"] = finalizers
    if not finalizers:
        del metadata["finalizers"]


def _grace(call: Call, options: Mapping[str, Any], old: Body) -> int:
    """Seconds that the object may still take; only a pod on a node may take any."""
    if call.kind.resource != PODS.resource or not dig(old, "spec", "nodeName"):
        return 0
    if dig(old, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.get("gracePeriodSeconds")
    seconds = int(wanted if wanted is not None else old["spec"].get("terminationGracePeriodSeconds", 30))
    return 1 if seconds < 0 else seconds


def _mark(body: Body, grace: int) -> None:
    metadata = body["metadata"]
    left = metadata.get("deletionGracePeriodSeconds")
    if metadata.get("deletionTimestamp") and (left is None or left <= grace):
        return
    if metadata.get("generation") and not metadata.get("deletionTimestamp"):
        metadata["generation"] += 1
    metadata["deletionTimestamp"] = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
