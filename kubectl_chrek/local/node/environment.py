"""A container's environment, command and downward API, computed from objects that were read before. No input or output."""

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.quantity import parse

_REFERENCE: Final = re.compile(r"\$(\$|\(([^)]*)\))")
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(ChrekError):
    """A container's configuration names what is not there."""


class Reference(NamedTuple):
    """A ConfigMap or Secret of the pod's namespace."""

    kind: str
    name: str


Objects = Mapping[Reference, Mapping[str, Any]]


class Facts(NamedTuple):
    """What a field reference may ask about beside the pod's own object."""

    pod_ip: str
    host_ip: str


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by its value; `$$(NAME)` becomes `$(NAME)`, and an unknown name stays as it is."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def references(pod: Mapping[str, Any]) -> set[Reference]:
    """The ConfigMaps and Secrets that the pod's containers name in their environments."""
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    return {reference for container in containers for reference in _references(container)}


def environment(pod: Mapping[str, Any], container: Mapping[str, Any], objects: Objects, facts: Facts) -> dict[str, str]:
    """The variables in the order they are given, references resolved and expanded.

    Raises:
        ConfigError: An object, a key or a field is missing and not optional.
    """
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if key in source:
                found = _data(objects, kind, source[key])
                values |= {source.get("prefix", "") + name: value for name, value in found.items()}
    for entry in container.get("env") or ():
        value = (
            _value(pod, container, entry, objects, facts) if entry.get("valueFrom") else expand(entry.get("value") or "", values)
        )
        if value is not None:
            values[entry["name"]] = value
    return values


def arguments(container: Mapping[str, Any], values: Mapping[str, str]) -> list[str]:
    """The container's command line; ConfigError when there is none, for the host's image brings none."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if not words:
        raise ConfigError("no command specified: the image has none of its own", hint="set command or args")
    return [expand(word, values) for word in words]


def field(pod: Mapping[str, Any], path: str, facts: Facts) -> str:
    """The value of a `fieldRef`.

    Raises:
        ConfigError: There is no such field.
    """
    metadata = pod["metadata"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    simple: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: metadata["name"],
        "metadata.namespace": lambda: metadata["namespace"],
        "metadata.uid": lambda: metadata["uid"],
        "metadata.labels": lambda: _lines(metadata.get("labels")),
        "metadata.annotations": lambda: _lines(metadata.get("annotations")),
        "spec.nodeName": lambda: pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": lambda: pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": lambda: facts.pod_ip,
        "status.podIPs": lambda: facts.pod_ip,
        "status.hostIP": lambda: facts.host_ip,
        "status.hostIPs": lambda: facts.host_ip,
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return simple[path]()


def resource(pod: Mapping[str, Any], container: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """The value of a `resourceFieldRef`, in whole units of its divisor, rounded up."""
    named = reference.get("containerName") or container.get("name")
    owner = next((one for one in pod["spec"]["containers"] if one["name"] == named), container)
    section, _, name = reference["resource"].partition(".")
    amount = parse(((owner.get("resources") or {}).get(section) or {}).get(name, 0))
    divisor = parse(reference.get("divisor") or 1) or parse(1)
    return str(math.ceil(amount / divisor))


def _references(container: Mapping[str, Any]) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if key in source:
                yield Reference(kind, source[key]["name"])
    for entry in container.get("env") or ():
        for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            if key in (entry.get("valueFrom") or {}):
                yield Reference(kind, entry["valueFrom"][key]["name"])


def _value(
    pod: Mapping[str, Any], container: Mapping[str, Any], entry: Mapping[str, Any], objects: Objects, facts: Facts
) -> str | None:
    source = entry["valueFrom"]
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], facts)
    if "resourceFieldRef" in source:
        return resource(pod, container, source["resourceFieldRef"])
    kind, reference = (
        ("ConfigMap", source["configMapKeyRef"]) if "configMapKeyRef" in source else ("Secret", source["secretKeyRef"])
    )
    found = _data(objects, kind, reference)
    if reference["key"] in found:
        return found[reference["key"]]
    if reference.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {pod['metadata']['namespace']}/{reference['name']}")


def _data(objects: Objects, kind: str, reference: Mapping[str, Any]) -> Mapping[str, str]:
    found = objects.get(Reference(kind, reference["name"]))
    if found is not None:
        return text_data(found)
    if reference.get("optional"):
        return {}
    raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')


def text_data(found: Mapping[str, Any]) -> dict[str, str]:
    """The text values of a ConfigMap or Secret."""
    if found.get("kind") == "Secret":
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in (found.get("data") or {}).items()}
    return dict(found.get("data") or {})


def _lines(values: Mapping[str, str] | None) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted((values or {}).items()))
