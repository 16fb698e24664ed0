"""A pod template with the shim in it: pure functions from template to template."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.rendering import SHELL, worker_container

SHIM_COMMAND: Final = ("python3", f"{names.SHIM_DIR}/{names.SHIM_FILE}", "--")
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
    )
)

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
    worker.setdefault("readinessProbe", _ready_file_probe())
    for probe in ("livenessProbe", "startupProbe"):
        # A stopped worker answers no probe, and must not be restarted for that.
        worker.pop(probe, None)
    return pod


def inject_target(template: Mapping[str, Any], injection: Injection) -> Body:
    """The template of a pod that is to be restored, or starts cold.

    Raises:
        UsageError: As inject_source.
    """
    pod, _ = _inject(template, injection, {})
    pod["metadata"]["labels"][names.LABEL_RESTORE] = "true"
    return pod


def original_command(worker: Mapping[str, Any]) -> list[str]:
    """What a container runs by its own words.

    Raises:
        UsageError: They leave it to the image, which nobody here can read.
    """
    command, args = worker.get("command") or [], worker.get("args") or []
    if command:
        return [*command, *args]
    if len(args) == 1 and not str(args[0]).startswith("-"):
        return [*SHELL, args[0]]
    name = worker.get("name", "")
    raise UsageError(f"container {name} has no command: give command: the image's own entrypoint cannot be wrapped")


def _inject(template: Mapping[str, Any], injection: Injection, extra_env: dict[str, str]) -> tuple[Body, Body]:
    pod = deepcopy(dict(template))
    worker = worker_container(pod)
    if worker is None:
        raise UsageError("the pod template has no containers", hint="give it a container with image and command")
    worker["command"] = [*SHIM_COMMAND, *original_command(worker)]
    worker.pop("args", None)
    # Ours come first, so that the user's may refer to them as $(NAME).
    own = [entry for entry in worker.get("env") or () if entry["name"] not in OUR_ENV]
    worker["env"] = [{"name": name, "value": value} for name, value in (_env(injection) | extra_env).items()] + own
    worker["volumeMounts"] = _by_key("mountPath", worker.get("volumeMounts"), _mounts())
    pod["spec"]["volumes"] = _by_key("name", pod["spec"].get("volumes"), _volumes())
    metadata = pod["metadata"] = dict(pod.get("metadata") or {})
    metadata["labels"] = _labels(metadata.get("labels") or {}, injection)
    return pod, worker


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
    items = [{"key": names.SHIM_FILE, "path": names.SHIM_FILE}]
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
