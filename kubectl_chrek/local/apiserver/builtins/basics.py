"""Namespace, ConfigMap, Secret, Service, PersistentVolumeClaim, Event and Lease."""

import base64
import binascii
import itertools
import re
from typing import Final

from kubectl_chrek.local.apiserver.failures import Flaw, bad_request, forbidden, invalid, required
from kubectl_chrek.local.apiserver.objects import Body, dig

_MAP_KEY: Final = re.compile(r"^[-._a-zA-Z0-9]+$")
_MEBIBYTE: Final = 1024 * 1024
_addresses: Final = itertools.count(10)


def begin_namespace(body: Body) -> None:
    """Label, finalizer and phase of a new namespace, in place."""
    body["spec"] = {"finalizers": ["kubernetes"]}
    body["status"] = {"phase": "Active"}
    body["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = body["metadata"]["name"]


def check_config_map(new: Body, old: Body | None) -> list[Flaw]:
    """Flaws of a ConfigMap."""
    return [*_map_keys(new), *_immutable(new, old)]


def fill_secret(body: Body) -> None:
    """Type and stringData of a Secret, in place."""
    body.setdefault("type", "Opaque")
    plain = body.pop("stringData", None) or {}
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        body["data"] = (body.get("data") or {}) | encoded


def check_secret(new: Body, old: Body | None) -> list[Flaw]:
    """Flaws of a Secret. Raises ApiError (400) for data that is not base64."""
    for value in (new.get("data") or {}).values():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise bad_request('Secret in version "v1" cannot be handled as a Secret: illegal base64 data') from error
    flaws = [*_map_keys(new), *_immutable(new, old)]
    if old is not None and new["type"] != old["type"]:
        flaws.append(invalid("type", new["type"], "field is immutable"))
    return flaws


def fill_service(body: Body) -> None:
    """Defaults of a Service, in place."""
    spec = body.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def begin_service(body: Body) -> None:
    """The address of a new Service, in place."""
    spec = body["spec"]
    body["status"] = {"loadBalancer": {}}
    if spec["type"] == "ExternalName":
        return
    number = next(_addresses)
    spec.setdefault("clusterIP", f"10.96.{number // 250}.{number % 250}")
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")


def check_service(new: Body, _old: Body | None) -> list[Flaw]:
    """Flaws of a Service."""
    spec = new["spec"]
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        return [required("spec.ports")]
    ports = spec.get("ports") or []
    return [required(f"spec.ports[{index}].port") for index, port in enumerate(ports) if not port.get("port")]


def begin_claim(body: Body) -> None:
    """A new claim waits for its volume."""
    body["status"] = {"phase": "Pending"}
    body.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def check_claim(new: Body, _old: Body | None) -> list[Flaw]:
    """Flaws of a PersistentVolumeClaim."""
    spec = new.get("spec") or {}
    flaws = [] if spec.get("accessModes") else [required("spec.accessModes", "at least 1 access mode is required")]
    return flaws if dig(spec, "resources", "requests", "storage") else [*flaws, required("spec.resources[storage]")]


def check_event(new: Body, old: Body | None) -> list[Flaw]:
    """Flaws of an Event."""
    namespace, about = new["metadata"].get("namespace"), new.get("involvedObject") or {}
    of = about.get("namespace") or ""
    if old is None and of != namespace and (of or namespace != "default"):
        return [invalid("involvedObject.namespace", of, "does not match event.namespace")]
    return []


def check_lease(new: Body, _old: Body | None) -> list[Flaw]:
    """Flaws of a Lease."""
    spec = new.get("spec") or {}
    flaws: list[Flaw] = []
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        flaws.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        flaws.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return flaws


def _map_keys(body: Body) -> list[Flaw]:
    flaws: list[Flaw] = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (body.get(field) or {}).items():
            size += len(value)
            if not _MAP_KEY.match(key) or len(key) > 253:
                rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                flaws.append(invalid(f"{field}[{key}]", key, rule))
    if size > _MEBIBYTE:
        flaws.append(Flaw("", "FieldValueTooLong", f"Too long: may not be more than {_MEBIBYTE} bytes"))
    return flaws


def _immutable(new: Body, old: Body | None) -> list[Flaw]:
    if old is None or not dig(old, "immutable"):
        return []
    changed = any(new.get(key) != old.get(key) for key in ("data", "binaryData", "immutable"))
    return [forbidden("data", "field is immutable when `immutable` is set")] if changed else []
