"""What can be wrong with a pod or a pod template."""

import re
from collections.abc import Iterator
from typing import Any, Final

from kubectl_chrek.local.apiserver.builtins.poddefaults import containers
from kubectl_chrek.local.apiserver.builtins.resourcechecks import check_resources
from kubectl_chrek.local.apiserver.failures import Flaw, duplicate, forbidden, invalid, required, unsupported
from kubectl_chrek.local.apiserver.names import LABEL_RULE, is_label
from kubectl_chrek.local.apiserver.objects import Body, clone

_ENV: Final = re.compile(r"^[ -<>-~]+$")
_ENV_RULE: Final = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_IMMUTABLE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod(new: Body, old: Body | None) -> list[Flaw]:
    """Flaws of a Pod."""
    if old is None or not new.get("spec"):
        return [*check_spec(new.get("spec"), "spec"), *_check_gated(new.get("spec") or {})]
    if _fixed(new["spec"]) != _fixed(old["spec"]):
        return [forbidden("spec", _IMMUTABLE)]
    added = _gates(new["spec"]) - _gates(old["spec"])
    return [
        forbidden("spec.schedulingGates", f"only deletion is allowed, but found new scheduling gate '{gate}'") for gate in added
    ]


def _check_gated(spec: Body) -> list[Flaw]:
    if spec.get("nodeName") and _gates(spec):
        return [forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")]
    return []


def _gates(spec: Body) -> set[str]:
    return {gate["name"] for gate in spec.get("schedulingGates") or ()}


def check_template(body: Body, path: str = "spec.template") -> list[Flaw]:
    """Flaws of `spec.template`."""
    template = body.get("spec", {}).get("template")
    if not isinstance(template, dict):
        return [required(f"{path}.spec.containers")]
    return list(check_spec(template.get("spec"), f"{path}.spec"))


def check_spec(spec: Any, path: str) -> Iterator[Flaw]:
    """Flaws of a pod spec."""
    if not isinstance(spec, dict) or not spec.get("containers"):
        yield required(f"{path}.containers")
        return
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        yield unsupported(f"{path}.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never"))
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        here = f"{path}.volumes[{index}]"
        yield from _name(volume.get("name"), f"{here}.name", volumes)
        for source in [key for key in volume if key != "name"][1:]:
            yield forbidden(f"{here}.{source}", "may not specify more than 1 volume type")
    seen: set[str] = set()
    for where, container in containers(spec):
        yield from _container(container, f"{path}.{where}", seen, volumes)


def _name(name: Any, path: str, seen: set[str]) -> Iterator[Flaw]:
    if not name:
        yield required(path)
    elif not is_label(name):
        yield invalid(path, name, LABEL_RULE)
    elif name in seen:
        yield duplicate(path, name)
    else:
        seen.add(name)


def _container(container: Body, path: str, seen: set[str], volumes: set[str]) -> Iterator[Flaw]:
    yield from _name(container.get("name"), f"{path}.name", seen)
    if not container.get("image"):
        yield required(f"{path}.image")
    elif container["image"] != container["image"].strip():
        yield invalid(f"{path}.image", container["image"], "must not have leading or trailing whitespace")
    if container["imagePullPolicy"] not in ("Always", "IfNotPresent", "Never"):
        yield unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], ("Always", "IfNotPresent", "Never"))
    yield from _environment(container, path)
    yield from _mounts(container, path, volumes)
    for index, port in enumerate(container.get("ports") or []):
        number = port.get("containerPort")
        if not number:
            yield required(f"{path}.ports[{index}].containerPort")
        elif not 0 < number < 65536:
            yield invalid(f"{path}.ports[{index}].containerPort", number, "must be between 1 and 65535, inclusive")
    yield from check_resources(container["resources"], f"{path}.resources")
    yield from _probes(container, path)


def _environment(container: Body, path: str) -> Iterator[Flaw]:
    for index, variable in enumerate(container.get("env") or []):
        here = f"{path}.env[{index}]"
        if not variable.get("name"):
            yield required(f"{here}.name")
        elif not _ENV.match(variable["name"]):
            yield invalid(f"{here}.name", variable["name"], _ENV_RULE)
        if variable.get("value") and variable.get("valueFrom"):
            yield invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty")


def _mounts(container: Body, path: str, volumes: set[str]) -> Iterator[Flaw]:
    places: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        here = f"{path}.volumeMounts[{index}]"
        if not mount.get("mountPath"):
            yield required(f"{here}.mountPath")
        elif mount["mountPath"] in places:
            yield invalid(f"{here}.mountPath", mount["mountPath"], "must be unique")
        places.add(mount.get("mountPath", ""))
        if not mount.get("name"):
            yield required(f"{here}.name")
        elif mount["name"] not in volumes:
            yield Flaw(f"{here}.name", "FieldValueNotFound", f'Not found: "{mount["name"]}"')


def _probes(container: Body, path: str) -> Iterator[Flaw]:
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if not probe:
            continue
        here = f"{path}.{field}"
        handlers = [key for key in ("exec", "httpGet", "tcpSocket", "grpc") if key in probe]
        if not handlers:
            yield required(here, "must specify a handler type")
        elif len(handlers) > 1:
            yield forbidden(f"{here}.{handlers[1]}", "may not specify more than 1 handler type")
        elif handlers == ["exec"] and not probe["exec"].get("command"):
            yield required(f"{here}.exec.command")
        if field != "readinessProbe" and probe["successThreshold"] != 1:
            yield invalid(f"{here}.successThreshold", probe["successThreshold"], "must be 1")


def _fixed(spec: Body) -> Body:
    """The part of a pod spec that no update may change; the binding sets nodeName by a way of its own."""
    fixed = clone(spec)
    for key in ("activeDeadlineSeconds", "tolerations", "ephemeralContainers", "schedulingGates"):
        fixed.pop(key, None)
    for _, container in containers(fixed):
        container.pop("image", None)
    return fixed
