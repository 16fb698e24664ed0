"""A service of a DynamoGraphDeployment as the pod template that runs it.

`prewarm` captures and the operator starts pods from the same rendering, so that a pod finds itself in its capture.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import NotFoundError, UsageError

SHARED_MEMORY_VOLUME: Final = "shared-memory"
SHELL: Final = ("/bin/sh", "-c")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_COMPILATION_CACHES: Final = {"vllm": "/root/.cache/vllm"}

Body = dict[str, Any]


def render_pod_template(
    graph: Mapping[str, Any], service: str, *, defaults: Mapping[str, Any] | None = None, needs_command: bool = True
) -> Body:
    """The pod template (metadata with labels and annotations, spec) of one service of a graph; its worker is container `main`.

    A lone argument without a command is a shell's line, as the seed's examples write it.

    Args:
        graph: A DynamoGraphDeployment.
        service: One of its `spec.services`.
        defaults: A pod template whose worker's command and arguments are used when the service has neither: that of the
            checkpoint which the service refers to.
        needs_command: False for a pod without the shim: its image's own entrypoint will do.

    Raises:
        NotFoundError: The graph has no such service.
        UsageError: The worker has no image or (if it needs one) no command, or a field is of the wrong shape.
    """
    spec = _mapping(graph, "spec", "")
    services = _mapping(spec, "services", "spec")
    where = f"spec.services.{service}"
    if service not in services:
        hint = f"its services: {', '.join(map(str, services)) or 'none'}"
        raise NotFoundError(f"{where}: the graph has no such service", hint=hint)
    wanted = _mapping(services, service, "spec.services")
    pod = deepcopy(dict(_mapping(wanted, "extraPodSpec", where)))
    worker = _worker(pod.pop("mainContainer", None) or {}, spec, wanted, where)
    if needs_command or worker.get("args"):
        _give_command(worker, defaults, where)
    volumes = _volumes(spec, wanted, where)
    worker["volumeMounts"] = _by_key("mountPath", worker.get("volumeMounts"), (mount for mount, _ in volumes))
    pod["volumes"] = _by_key("name", (volume for _, volume in volumes), pod.get("volumes"))
    pod["containers"] = [_without_empty(worker), *_items(pod, "containers", f"{where}.extraPodSpec")]
    return {"metadata": _metadata(spec, wanted, where), "spec": _without_empty(pod)}


def worker_container(template: Mapping[str, Any]) -> Body | None:
    """The container of a pod template that is captured: the annotated one, else `main`, else the first; None without any."""
    containers = (template.get("spec") or {}).get("containers") or []
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    wanted = annotations.get(names.ANNOTATION_CONTAINER) or names.DEFAULT_CONTAINER
    found = next((container for container in containers if container.get("name") == wanted), None)
    return found or (containers[0] if containers else None)


def _worker(main: object, spec: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> Body:
    if not isinstance(main, Mapping):
        raise UsageError(f"{where}.extraPodSpec.mainContainer: expected a mapping of fields")
    worker = dict(main)
    worker["name"] = names.DEFAULT_CONTAINER
    if not worker.get("image"):
        hint = f"set {where}.extraPodSpec.mainContainer.image"
        raise UsageError(f"{where}: the worker has no image", hint=hint)
    worker["env"] = _by_key("name", _items(spec, "envs", "spec"), _items(wanted, "envs", where), worker.get("env"))
    if wanted.get("envFromSecret"):
        worker["envFrom"] = [*(worker.get("envFrom") or []), {"secretRef": {"name": wanted["envFromSecret"]}}]
    if wanted.get("resources"):
        worker["resources"] = _resources(_mapping(wanted, "resources", where), f"{where}.resources")
    worker.update({probe: deepcopy(wanted[probe]) for probe in _PROBES if wanted.get(probe)})
    return worker


def _give_command(worker: Body, defaults: Mapping[str, Any] | None, where: str) -> None:
    args = worker.get("args") or []
    if worker.get("command"):
        return
    if len(args) == 1 and not str(args[0]).startswith("-"):
        worker["command"] = list(SHELL)
    elif not args:
        base = worker_container(defaults or {}) or {}
        if not base.get("command") and not base.get("args"):
            hint = f"set command or args in {where}.extraPodSpec.mainContainer"
            raise UsageError(f"{where}: the worker has no command", hint=hint)
        worker.update({key: deepcopy(base[key]) for key in ("command", "args") if base.get(key)})


def _resources(resources: Mapping[str, Any], where: str) -> Body:
    """Kubernetes' own resources from Dynamo's: `gpu` is the GPU resource, `custom` holds any others."""
    rendered = deepcopy(dict(resources))
    for kind in ("requests", "limits"):
        if kind not in rendered:
            continue
        amounts = dict(_mapping(rendered, kind, where))
        gpu, gpu_type = amounts.pop("gpu", None), amounts.pop("gpuType", None)
        amounts.update(amounts.pop("custom", None) or {})
        if gpu:
            amounts[gpu_type or names.GPU_RESOURCE] = gpu
        rendered[kind] = {name: str(amount) for name, amount in amounts.items()}
    return rendered


def _volumes(spec: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> list[tuple[Body, Body]]:
    """Pairs of volume mount and volume: the service's claims and its shared memory."""
    pairs = []
    for mount in _items(wanted, "volumeMounts", where):
        name, path = mount.get("name"), mount.get("mountPoint") or mount.get("mountPath")
        if not path and mount.get("useAsCompilationCache"):
            path = _COMPILATION_CACHES.get(spec.get("backendFramework", ""))
        if not name or not path:
            raise UsageError(f"{where}.volumeMounts: an entry needs name (of a claim) and mountPoint, got {mount}")
        pairs.append(({"name": name, "mountPath": path}, {"name": name, "persistentVolumeClaim": {"claimName": name}}))
    shared = _mapping(wanted, "sharedMemory", where)
    if shared and not shared.get("disabled"):
        medium = {"medium": "Memory"} | ({"sizeLimit": str(shared["size"])} if shared.get("size") else {})
        mount = {"name": SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"}  # noqa: S108 - a path in the worker's container
        pairs.append((mount, {"name": SHARED_MEMORY_VOLUME, "emptyDir": medium}))
    return pairs


def _metadata(spec: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> dict[str, dict[str, str]]:
    extra = _mapping(wanted, "extraPodMetadata", where)
    sources = ((spec, "spec"), (wanted, where), (extra, f"{where}.extraPodMetadata"))
    merged: dict[str, dict[str, str]] = {"labels": {}, "annotations": {}}
    for source, place in sources:
        for kind, values in merged.items():
            values.update(_mapping(source, kind, place))
    return merged


def _mapping(holder: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = holder.get(key) or {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}.{key}: expected a mapping of fields".lstrip("."))
    return value


def _items(holder: Mapping[str, Any], key: str, where: str) -> list[Body]:
    value = holder.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UsageError(f"{where}.{key}: expected a list of mappings")
    return [deepcopy(dict(item)) for item in value]


def _by_key(key: str, *lists: Iterable[Mapping[str, Any]] | None) -> list[Body]:
    """The lists joined; of entries with the same key the last one counts, at the place of the first."""
    merged: dict[object, Body] = {}
    for items in lists:
        merged |= {item.get(key): dict(item) for item in items or ()}
    return list(merged.values())


def _without_empty(fields: Mapping[str, Any]) -> Body:
    return {key: value for key, value in fields.items() if value not in (None, [], {})}
