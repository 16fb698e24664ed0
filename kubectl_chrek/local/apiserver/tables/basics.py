"""The tables of all other built-in kinds."""

from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.tables.durations import age
from kubectl_chrek.local.apiserver.tables.layout import NONE, Layout, columns, created, joined, name

_ROLE: Final = "node-role.kubernetes.io/"
_MODES: Final = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _plain_row(body: Body) -> list[Any]:
    return [name(body), created(body)]


def _config_map_row(body: Body) -> list[Any]:
    return [name(body), len(body.get("data") or {}) + len(body.get("binaryData") or {}), created(body)]


def _secret_row(body: Body) -> list[Any]:
    return [name(body), body.get("type", ""), len(body.get("data") or {}), created(body)]


def _service_account_row(body: Body) -> list[Any]:
    return [name(body), len(body.get("secrets") or []), created(body)]


def _namespace_row(body: Body) -> list[Any]:
    return [name(body), dig(body, "status", "phase") or "", created(body)]


def _lease_row(body: Body) -> list[Any]:
    return [name(body), dig(body, "spec", "holderIdentity") or "", created(body)]


def _definition_row(body: Body) -> list[Any]:
    return [name(body), body["metadata"]["creationTimestamp"]]


def _service_row(body: Body) -> list[Any]:
    spec = body["spec"]
    ports = ",".join(
        f"{port['port']}:{port['nodePort']}/{port['protocol']}" if port.get("nodePort") else f"{port['port']}/{port['protocol']}"
        for port in spec.get("ports") or []
    )
    outside = ",".join(spec.get("externalIPs") or []) or spec.get("externalName") or NONE
    return [
        name(body),
        spec["type"],
        spec.get("clusterIP") or NONE,
        outside,
        ports or NONE,
        created(body),
        joined(spec.get("selector")),
    ]


def _claim_row(body: Body) -> list[Any]:
    spec, status = body["spec"], body.get("status") or {}
    phase = "Terminating" if body["metadata"].get("deletionTimestamp") else status.get("phase", "")
    bound = bool(spec.get("volumeName"))
    capacity = (dig(status, "capacity", "storage") or "") if bound else ""
    modes = ",".join(_MODES.get(mode, mode) for mode in status.get("accessModes") or []) if bound else ""
    storage, attributes = spec.get("storageClassName", ""), spec.get("volumeAttributesClassName") or "<unset>"
    cells = [name(body), phase, spec.get("volumeName", ""), capacity, modes, storage, attributes, created(body)]
    return [*cells, spec.get("volumeMode", "<unset>")]


def _node_row(body: Body) -> list[Any]:
    labels, status = body["metadata"].get("labels") or {}, body.get("status") or {}
    ready = [item for item in status.get("conditions") or [] if item["type"] == "Ready"]
    states = ["Ready" if item["status"] == "True" else "NotReady" for item in ready] or ["Unknown"]
    if dig(body, "spec", "unschedulable"):
        states.append("SchedulingDisabled")
    roles = ",".join(sorted(key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE))) or NONE
    info = status.get("nodeInfo") or {}
    addresses = {item["type"]: item["address"] for item in status.get("addresses") or []}
    cells = [name(body), ",".join(states), roles, created(body), info.get("kubeletVersion", "")]
    cells += [addresses.get(kind, NONE) for kind in ("InternalIP", "ExternalIP")]
    return [*cells, *(info.get(key) or "<unknown>" for key in ("osImage", "kernelVersion", "containerRuntimeVersion"))]


def _event_row(body: Body) -> list[Any]:
    about, series = body.get("involvedObject") or {}, body.get("series") or {}
    first = age(body.get("firstTimestamp") or body.get("eventTime") or body["metadata"]["creationTimestamp"])
    last = age(series.get("lastObservedTime") or body.get("lastTimestamp")) if series or body.get("lastTimestamp") else first
    source = body.get("source") or {}
    origin = ", ".join(part for part in (source.get("component") or body.get("reportingComponent"), source.get("host")) if part)
    count = series.get("count") or body.get("count") or 1
    subject = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    cells = [last, body.get("type", ""), body.get("reason", ""), subject, about.get("fieldPath", ""), origin]
    return [*cells, (body.get("message") or "").strip(), first, count, name(body)]


def _event_columns() -> Layout:
    titles = columns("Last Seen|Type|Reason|Object", "Subobject|Source") + columns("Message", "First Seen|Count|Name")
    return Layout(titles, _event_row)


BASICS: Final[Mapping[str, Layout]] = {
    "": Layout(columns("Name|Age"), _plain_row),
    "configmaps": Layout(columns("Name|Data|Age"), _config_map_row),
    "customresourcedefinitions.apiextensions.k8s.io": Layout(columns("Name|Created At"), _definition_row),
    "events": _event_columns(),
    "leases.coordination.k8s.io": Layout(columns("Name|Holder|Age"), _lease_row),
    "namespaces": Layout(columns("Name|Status|Age"), _namespace_row),
    "nodes": Layout(
        columns("Name|Status|Roles|Age|Version", "Internal-IP|External-IP|OS-Image|Kernel-Version|Container-Runtime"), _node_row
    ),
    "persistentvolumeclaims": Layout(
        columns("Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age", "VolumeMode"), _claim_row
    ),
    "secrets": Layout(columns("Name|Type|Data|Age"), _secret_row),
    "serviceaccounts": Layout(columns("Name|Secrets|Age"), _service_account_row),
    "services": Layout(columns("Name|Type|Cluster-IP|External-IP|Port(s)|Age", "Selector"), _service_row),
}
