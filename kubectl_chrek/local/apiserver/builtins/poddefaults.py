"""Defaults of pods and pod templates."""

from collections.abc import Iterator
from typing import Any, Final

from kubectl_chrek.local.apiserver.objects import Body

_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_MODES: Final = ("secret", "configMap", "projected", "downwardAPI")


def containers(spec: Body) -> Iterator[tuple[str, Body]]:
    """All containers of a pod spec with the paths they have in it."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(field) or []):
            if isinstance(container, dict):
                yield f"{field}[{index}]", container


def fill_template(body: Body) -> None:
    """Defaults of `spec.template`, in place."""
    template = body.get("spec", {}).get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        template.setdefault("metadata", {})
        fill_spec(template["spec"])


def fill_spec(spec: Body) -> None:
    """Defaults of a pod spec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    for _, container in containers(spec):
        _fill_container(container)
        if spec.get("hostNetwork"):
            for port in container.get("ports") or []:
                port.setdefault("hostPort", port.get("containerPort"))
    for volume in spec.get("volumes") or []:
        _fill_volume(volume)


def fill_pod(body: Body) -> None:
    """Defaults of a Pod, in place; `begin_pod` sets what only creation sets."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    fill_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for _, container in containers(spec):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = resources["limits"] | (resources.get("requests") or {})


def begin_pod(body: Body) -> None:
    """What admission and the server add to a new pod, in place."""
    spec = body["spec"]
    name = spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = name
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    present = {toleration.get("key") for toleration in spec.get("tolerations") or [] if _tolerates_eviction(toleration)}
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if key not in present and None not in present:
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            spec["tolerations"] = [*(spec.get("tolerations") or []), toleration]
    body["status"] = {"phase": "Pending", "qosClass": _quality(spec)}


def _tolerates_eviction(toleration: Body) -> bool:
    return toleration.get("effect", "NoExecute") == "NoExecute" and ("key" in toleration or toleration.get("operator") == "Exists")


def _quality(spec: Body) -> str:
    limits: list[bool] = []
    some = False
    for _, container in containers(spec):
        resources = container["resources"]
        wanted, granted = resources.get("requests") or {}, resources.get("limits") or {}
        named = {key for key in (*wanted, *granted) if key in ("cpu", "memory")}
        some = some or bool(named)
        limits.append(named == {"cpu", "memory"} and all(granted.get(key) == wanted.get(key) for key in named))
    if not some:
        return "BestEffort"
    return "Guaranteed" if all(limits) else "Burstable"


def _fill_container(container: Body) -> None:
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for probe in _PROBES:
        if isinstance(container.get(probe), dict):
            _fill_probe(container[probe])
    for handler in (container.get("lifecycle") or {}).values():
        _fill_handler(handler)
    for variable in container.get("env") or []:
        _fill_reference(variable.get("valueFrom") or {})


def _fill_reference(source: Body) -> None:
    """Defaults of what names a field of the pod or a resource of a container."""
    if source.get("fieldRef"):
        source["fieldRef"].setdefault("apiVersion", "v1")
    if source.get("resourceFieldRef"):
        source["resourceFieldRef"].setdefault("divisor", "0")


def _fill_probe(probe: Body) -> None:
    _fill_handler(probe)
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe[key] = probe.get(key) or value


def _fill_handler(handler: Any) -> None:
    if isinstance(handler, dict) and isinstance(handler.get("httpGet"), dict):
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")
    if isinstance(handler, dict) and isinstance(handler.get("grpc"), dict):
        handler["grpc"].setdefault("service", "")


def _fill_volume(volume: Body) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in _MODES:
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", 0o644)
            for part in (volume[source], *(volume[source].get("sources") or [])):
                _fill_source(part)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")


def _fill_source(source: Body) -> None:
    """Defaults of a volume's source, or of one part of a projected one."""
    for item in (source.get("downwardAPI") or source).get("items") or []:
        _fill_reference(item)
    if isinstance(source.get("serviceAccountToken"), dict):
        source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
