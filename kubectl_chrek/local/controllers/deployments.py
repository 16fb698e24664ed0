"""The Deployment controller's plan. No input or output."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubectl_chrek.cluster.resources import DEPLOYMENTS, REPLICA_SETS
from kubectl_chrek.local.clock import seconds, timestamp
from kubectl_chrek.local.controllers import pods as about
from kubectl_chrek.local.controllers.actions import Action, Create, Delete, Emit, Patch, Plan, status_patch

Object = Mapping[str, Any]
HASH: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


def plan(owner: Object, found: Sequence[Object], now: float) -> Plan:
    """What the Deployment needs now."""
    if "deletionTimestamp" in owner["metadata"]:
        return Plan()
    current = next((one for one in found if _bare(one["spec"]["template"]) == _bare(owner["spec"]["template"])), None)
    old = [one for one in found if one is not current]
    actions: list[Action] = []
    if current is None and not owner["spec"].get("paused"):
        replicas = _first_size(owner, old)
        actions.append(Create(REPLICA_SETS, _replica_set(owner, replicas, _revision(found) + 1), owner))
    elif current is not None:
        actions += _roll(owner, current, old)
    actions += _forget(owner, old)
    status, after = _status(owner, current, old, now)
    return Plan((*actions, *status_patch(DEPLOYMENTS, owner, status)), after)


def template_hash(template: Object) -> str:
    """A name for a template: ten letters and digits that spell no words."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True, separators=(",", ":")).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def limits(owner: Object) -> tuple[int, int]:
    """MaxSurge and maxUnavailable in pods; never both 0, or nothing could move."""
    replicas = _replicas(owner)
    rolling = (owner["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return surge, unavailable if surge or unavailable else 1


def _roll(owner: Object, current: Object, old: Sequence[Object]) -> list[Action]:
    """Moves pods from the old ReplicaSets to the current one, as far as surge and availability allow."""
    wanted, have = _replicas(owner), _replicas(current)
    old_size = sum(_replicas(one) for one in old)
    if (owner["spec"].get("strategy") or {}).get("type") == "Recreate":
        old_left = old_size or sum(_count(one, "replicas") for one in old)
        return [*_shrink(owner, old, old_size), *([] if old_left else _scale(owner, current, wanted))]
    surge, unavailable = limits(owner)
    total, least = have + old_size, wanted - unavailable
    size = min(wanted, have + max(0, wanted + surge - total)) if have < wanted else wanted
    # Pods that serve nobody cost nothing to lose; of the others as many must stay as the Deployment promises.
    movable = max(0, total - least - (have - _count(current, "availableReplicas")))
    broken = sum(max(0, _replicas(one) - _count(one, "availableReplicas")) for one in old)
    spare = max(0, sum(_count(one, "availableReplicas") for one in (current, *old)) - least)
    return [*_scale(owner, current, size), *_shrink(owner, old, min(old_size, movable, broken + spare))]


def _shrink(owner: Object, old: Sequence[Object], count: int) -> list[Action]:
    actions: list[Action] = []
    # What is not available goes first.
    for one in sorted(old, key=lambda one: _count(one, "availableReplicas")):
        less = min(count, _replicas(one))
        count -= less
        actions += _scale(owner, one, _replicas(one) - less)
    return actions


def _scale(owner: Object, one: Object, size: int) -> list[Action]:
    before = _replicas(one)
    if before == size:
        return []
    word = "up" if size > before else "down"
    message = f"Scaled {word} replica set {one['metadata']['name']} from {before} to {size}"
    return [Patch(REPLICA_SETS, one, {"spec": {"replicas": size}}), Emit(owner, "Normal", "ScalingReplicaSet", message)]


def _forget(owner: Object, old: Sequence[Object]) -> list[Action]:
    """Old ReplicaSets beyond the history limit, the oldest first."""
    empty = [one for one in old if not _replicas(one) and not _count(one, "replicas")]
    empty.sort(key=lambda one: _revision([one]))
    surplus = len(empty) - int(owner["spec"].get("revisionHistoryLimit", 10))
    return [Delete(REPLICA_SETS, one) for one in empty[: max(0, surplus)]]


def _status(owner: Object, current: Object | None, old: Sequence[Object], now: float) -> tuple[dict[str, Any], float | None]:
    every = [*([current] if current else []), *old]
    total = {key: sum(_count(one, key) for one in every) for key in ("replicas", "readyReplicas", "availableReplicas")}
    updated = _count(current, "replicas") if current else 0
    wanted, (_, unavailable) = _replicas(owner), limits(owner)
    status: dict[str, Any] = {
        **total,
        "updatedReplicas": updated,
        "unavailableReplicas": max(0, wanted - total["availableReplicas"]),
        "observedGeneration": owner["metadata"].get("generation", 1),
    }
    enough = total["availableReplicas"] >= wanted - unavailable
    done = current is not None and updated == wanted == total["replicas"] == total["availableReplicas"]
    moved = any((owner.get("status") or {}).get(key, 0) != value for key, value in status.items())
    available = ("MinimumReplicasAvailable", "Deployment has minimum availability.") if enough else _UNAVAILABLE
    progress, after = _progress(owner, current, now, done=done, moved=moved)
    kinds = {"Available": (enough, *available), "Progressing": progress}
    status["conditions"] = [_condition(owner, kind, *kinds[kind], now, moved=moved) for kind in kinds]
    return status, after


_UNAVAILABLE: Final = ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")


def _progress(
    owner: Object, current: Object | None, now: float, *, done: bool, moved: bool
) -> tuple[tuple[bool, str, str], float | None]:
    """Whether the rollout gets on, why, and when to look again."""
    name = current["metadata"]["name"] if current else ""
    before = about.condition(owner, "Progressing")
    if done:
        return (True, "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'), None
    if current is None:
        return (True, "NewReplicaSetCreated", "Created new replica set"), None
    limit = owner["spec"].get("progressDeadlineSeconds", 600)
    left = seconds(before["lastUpdateTime"]) + limit - now if before else float(limit)
    if moved or left > 0:
        return (True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'), max(left, 1.0)
    return (False, "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'), None


def _condition(owner: Object, kind: str, holds: bool, reason: str, message: str, now: float, *, moved: bool) -> dict[str, Any]:
    before, status = about.condition(owner, kind), "True" if holds else "False"
    same = before.get("status") == status and before.get("reason") == reason
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == status else timestamp(now),
        "lastUpdateTime": before["lastUpdateTime"] if same and not (moved and kind == "Progressing") else timestamp(now),
    }


def _replica_set(owner: Object, replicas: int, revision: int) -> dict[str, Any]:
    spec, metadata = owner["spec"], owner["metadata"]
    label = {HASH: template_hash(spec["template"])}
    given = spec["template"].get("metadata") or {}
    labels = {**(given.get("labels") or {}), **label}
    selector = {**spec["selector"], "matchLabels": {**(spec["selector"].get("matchLabels") or {}), **label}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{label[HASH]}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": about.owned_by(owner),
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": selector,
            "template": {**spec["template"], "metadata": {**given, "labels": labels}},
        },
    }


def _first_size(owner: Object, old: Sequence[Object]) -> int:
    wanted, old_size = _replicas(owner), sum(_replicas(one) for one in old)
    if (owner["spec"].get("strategy") or {}).get("type") == "Recreate":
        return 0 if old_size else wanted
    return max(0, min(wanted, wanted + limits(owner)[0] - old_size))


def _bare(template: Object) -> dict[str, Any]:
    """The template without the label that the Deployment adds."""
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    kept = {key: value for key, value in metadata.items() if key not in ("labels", "creationTimestamp")}
    return {"metadata": {**kept, "labels": labels}, "spec": template["spec"]}


def _revision(found: Sequence[Object]) -> int:
    return max((int((one["metadata"].get("annotations") or {}).get(REVISION, 0)) for one in found), default=0)


def _replicas(found: Object) -> int:
    return int(found["spec"].get("replicas", 1))


def _count(found: Object, key: str) -> int:
    return int((found.get("status") or {}).get(key, 0))


def _share(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * of / 100
        return math.ceil(part) if up else math.floor(part)
    return int(value)
