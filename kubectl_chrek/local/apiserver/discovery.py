"""What is served, in the old form (one document a group) and in the aggregated one."""

from collections.abc import Iterable
from typing import Final

from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.registry import Registry

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SUB_KINDS: Final[dict[str, tuple[str, str, str, tuple[str, ...]]]] = {
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "log": ("", "v1", "Pod", ("get",)),
    "exec": ("", "v1", "PodExecOptions", ("create", "get")),
    "binding": ("", "v1", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "finalize": ("", "v1", "Namespace", ("update",)),
}


def wants_aggregated(accept: str) -> bool:
    """Whether a client understands the aggregated form."""
    return any(
        "as=APIGroupDiscoveryList" in clause and "v=v2" in clause.split(";") for clause in accept.replace(" ", "").split(",")
    )


def versions() -> Body:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(registry: Registry) -> Body:
    """`/apis`."""
    found = [group(registry, name) for name in registry.versions() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(registry: Registry, name: str) -> Body:
    """`/apis/GROUP`."""
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions()[name]]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": found, "preferredVersion": found[0]}


def resources(registry: Registry, group_name: str, version: str) -> Body:
    """`/api/v1` and `/apis/GROUP/VERSION`."""
    kinds = [kind for kind in registry.all() if (kind.group, kind.version) == (group_name, version)]
    api_version = f"{group_name}/{version}" if group_name else version
    found = [entry for kind in kinds for entry in _entries(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": found}


def aggregated(registry: Registry, *, core: bool) -> Body:
    """`/api` (core) or `/apis` in the aggregated form."""
    items = []
    for name, found in registry.versions().items():
        if core is bool(name):
            continue
        served = [
            {
                "version": version,
                "freshness": "Current",
                "resources": [_aggregate(kind) for kind in registry.all() if (kind.group, kind.version) == (name, version)],
            }
            for version in found
        ]
        items.append(
            {"metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None}, "versions": served}
        )
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _entries(kind: Kind) -> Iterable[Body]:
    entry: Body = {
        "name": kind.plural,
        "singularName": kind.one,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    yield entry
    for name in sorted(kind.subresources):
        group_name, version, sub_kind, verbs = _sub_kind(kind, name)
        sub: Body = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced, "kind": sub_kind}
        if (group_name, version) != (kind.group, kind.version):
            sub |= {"group": group_name, "version": version}
        yield sub | {"verbs": list(verbs)}


def _aggregate(kind: Kind) -> Body:
    entry: Body = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.one,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    found = []
    for name in sorted(kind.subresources):
        group_name, version, sub_kind, verbs = _sub_kind(kind, name)
        answer = {"group": group_name, "version": version, "kind": sub_kind}
        found.append({"subresource": name, "responseKind": answer, "verbs": list(verbs)})
    return entry | ({"subresources": found} if found else {})


def _sub_kind(kind: Kind, name: str) -> tuple[str, str, str, tuple[str, ...]]:
    return _SUB_KINDS.get(name, (kind.group, kind.version, kind.kind, ("get", "patch", "update")))
