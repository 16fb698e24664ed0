"""A pod template with the shim in it: pure functions from template to template."""

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from chrek_operator.capture_env import add_capture_env
from chrek_operator.podinfo import add_podinfo
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.rendering import SHELL, worker_container

SHIM_COMMAND: Final = ("python3", f"{names.SHIM_DIR}/{names.SHIM_FILE}", "--")
CLAIM_SECONDS: Final = 30.0
RESTORE_SECONDS: Final = 600.0
"""What the shim waits by itself; a pod's own environment may say otherwise."""
OUR_ENV: Final = frozenset(
    (
        names.ENV_STORAGE_TYPE,
        names.ENV_PATH,
        names.ENV_READY_FILE,
        names.ENV_MARKER_FILE,
        names.ENV_CONTROL_DIR,
        names.ENV_HASH,
        names.ENV_LOCATION,
        names.ENV_SIGNAL_FILE,
        names.ENV_SNAPSHOT_DIR,
    )
)
_DYNAMO_ENGINES: Final = frozenset(("dynamo.vllm", "dynamo.sglang", "dynamo.trtllm"))

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Injection:
    """What a pod is told about its checkpoint. `identity_hash` is empty when the checkpoint does not exist yet."""

    checkpoint: str
    identity_hash: str
    storage_type: str
    base_path: str


def inject_source(template: Mapping[str, Any], injection: Injection) -> Body:
    """The template of a pod that is to be captured.

    Raises:
        UsageError: It has no container, or its worker has no command that could be wrapped.
    """
    pod, worker = _inject(template, injection, {names.ENV_SIGNAL_FILE: names.signal_file(injection.identity_hash)})
    pod["metadata"]["labels"][names.LABEL_SOURCE] = "true"
    pod["spec"]["restartPolicy"] = "Never"
    if not worker.get("readinessProbe") or _is_dynamos(pod, worker):
        # A Dynamo worker that is told to be captured waits for that before it serves: no other probe would find it ready.
        worker["readinessProbe"] = _ready_file_probe()
        worker["env"].append({"name": names.ENV_SNAPSHOT_DIR, "value": names.CONTROL_DIR})
    for probe in ("livenessProbe", "startupProbe"):
        # A stopped worker answers no probe, and must not be restarted for that.
        worker.pop(probe, None)
    _end_with_worker(pod["spec"], worker)
    return pod


def _is_dynamos(pod: Body, worker: Body) -> bool:
    """It waits to be captured: its command is an engine of Dynamo's, unless it is to be captured like another server."""
    chosen = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_ADAPTER)
    if chosen:
        return bool(chosen == names.DYNAMO)
    return any(word in _DYNAMO_ENGINES for argument in worker["command"] for word in str(argument).split())


def _end_with_worker(spec: Body, worker: Body) -> None:
    """Makes the other containers sidecars: on their own they would keep the Job, and its GPUs, when the worker ends."""
    others = [container for container in spec["containers"] if container is not worker]
    if others:
        spec["initContainers"] = [*(spec.get("initContainers") or ()), *({**one, "restartPolicy": "Always"} for one in others)]
        spec["containers"] = [worker]


def inject_target(template: Mapping[str, Any], injection: Injection, recorded: Sequence[str] = ()) -> Body:
    """The template of a pod that is to be restored, or starts cold.

    Args:
        template: A pod template, or a pod.
        injection: What it is told.
        recorded: The command that was captured, for a worker that leaves its own to the image.

    Raises:
        UsageError: As inject_source.
    """
    pod, worker = _inject(template, injection, {}, recorded)
    _hold_probes(worker)
    pod["metadata"]["labels"][names.LABEL_RESTORE] = "true"
    return pod


def original_command(worker: Mapping[str, Any], recorded: Sequence[str] = ()) -> list[str]:
    """What a container runs by its own words, or else what was captured, where its words do not contradict that.

    Raises:
        UsageError: They leave it to the image, which nobody here can read.
    """
    command, args = worker.get("command") or [], worker.get("args") or []
    if command:
        return [*command, *args]
    if len(args) == 1 and not str(args[0]).startswith("-"):
        return [*SHELL, args[0]]
    if recorded and (not args or list(recorded)[-len(args) :] == args):
        return list(recorded)
    name = worker.get("name", "")
    raise UsageError(f"container {name} has no command: give command: the image's own entrypoint cannot be wrapped")


def _inject(
    template: Mapping[str, Any], injection: Injection, extra_env: dict[str, str], recorded: Sequence[str] = ()
) -> tuple[Body, Body]:
    pod = deepcopy(dict(template))
    worker = worker_container(pod)
    if worker is None:
        raise UsageError("the pod template has no containers", hint="give it a container with image and command")
    worker["command"] = [*SHIM_COMMAND, *original_command(worker, recorded)]
    worker.pop("args", None)
    # Ours come first, so that the user's may refer to them as $(NAME).
    own = [entry for entry in worker.get("env") or () if entry["name"] not in OUR_ENV]
    worker["env"] = [{"name": name, "value": value} for name, value in (_env(injection) | extra_env).items()]
    worker["env"] += add_capture_env(worker, own)
    worker["volumeMounts"] = _by_key("mountPath", worker.get("volumeMounts"), _mounts())
    pod["spec"]["volumes"] = _by_key("name", pod["spec"].get("volumes"), _volumes())
    add_podinfo(pod.get("metadata") or {}, pod["spec"], worker)
    metadata = pod["metadata"] = dict(pod.get("metadata") or {})
    metadata["labels"] = _labels(metadata.get("labels") or {}, injection)
    return pod, worker


def _hold_probes(worker: Body) -> None:
    """Keeps a liveness probe from killing a worker that is being restored.

    A startup probe of the user's own may fail for as much longer as a restore may take. Where there is only a liveness probe, it
    becomes the startup probe as well: once a second, and for as long as it would have been borne with, and a restore.
    """
    wait = _env_seconds(worker, names.ENV_CLAIM_SECONDS, CLAIM_SECONDS)
    wait += _env_seconds(worker, names.ENV_RESTORE_SECONDS, RESTORE_SECONDS)
    startup, liveness = worker.get("startupProbe"), worker.get("livenessProbe")
    if startup:
        period = startup.get("periodSeconds") or 10
        failures = (startup.get("failureThreshold") or 3) + math.ceil(wait / period)
        worker["startupProbe"] = {**startup, "failureThreshold": failures}
    elif liveness:
        borne = (liveness.get("initialDelaySeconds") or 0) + (liveness.get("periodSeconds") or 10) * (
            liveness.get("failureThreshold") or 3
        )
        gate = {key: value for key, value in liveness.items() if key not in ("initialDelaySeconds", "successThreshold")}
        worker["startupProbe"] = gate | {"periodSeconds": 1, "failureThreshold": math.ceil(borne + wait)}


def _env_seconds(worker: Mapping[str, Any], name: str, default: float) -> float:
    """A number of seconds in a container's environment, as the shim would read it."""
    found = next((entry.get("value") for entry in worker.get("env") or () if entry["name"] == name), None)
    try:
        return float(found or default)
    except ValueError:
        return default


def _labels(own: Mapping[str, str], injection: Injection) -> dict[str, str]:
    reserved = (names.LABEL_SOURCE, names.LABEL_RESTORE, names.LABEL_HASH)
    labels = {key: value for key, value in own.items() if key not in reserved}
    labels[names.LABEL_NAME] = injection.checkpoint
    return labels | ({names.LABEL_HASH: injection.identity_hash} if injection.identity_hash else {})


def _env(injection: Injection) -> dict[str, str]:
    values = {
        names.ENV_STORAGE_TYPE: injection.storage_type,
        names.ENV_PATH: injection.base_path,
        names.ENV_READY_FILE: names.READY_FILE,
        names.ENV_MARKER_FILE: names.MARKER_FILE,
        names.ENV_CONTROL_DIR: names.CONTROL_DIR,
    }
    if injection.identity_hash:
        values[names.ENV_HASH] = injection.identity_hash
        values[names.ENV_LOCATION] = names.location(injection.base_path, injection.identity_hash)
    return values


def _volumes() -> list[Body]:
    items = [{"key": name, "path": name} for name in (names.SHIM_FILE, names.DRIVER_COPY_FILE)]
    return [
        {"name": names.SHIM_VOLUME, "configMap": {"name": names.SHIM_CONFIG_MAP, "items": items}},
        {"name": names.CONTROL_VOLUME, "emptyDir": {}},
    ]


def _mounts() -> list[Body]:
    return [
        {"name": names.SHIM_VOLUME, "mountPath": names.SHIM_DIR, "readOnly": True},
        {"name": names.CONTROL_VOLUME, "mountPath": names.CONTROL_DIR},
    ]


def _ready_file_probe() -> Body:
    return {"exec": {"command": ["cat", names.READY_FILE]}, "initialDelaySeconds": 1, "periodSeconds": 1}


def _by_key(key: str, *lists: Iterable[Body] | None) -> list[Body]:
    """The lists joined; of entries with the same key the last one counts, at the place of the first."""
    merged: dict[object, Body] = {}
    for items in lists:
        merged |= {item.get(key): dict(item) for item in items or ()}
    return list(merged.values())
