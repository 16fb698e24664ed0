"""OpenAPI v3: enough for `kubectl apply` to leave validation to the server, and for `kubectl explain` of custom resources."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.registry import Registry

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_GVK: Final = "x-kubernetes-group-version-kind"
_STRINGS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECT_META: Final[Body] = {
    "description": "ObjectMeta is metadata that all persisted resources must have, which includes all objects users must create.",
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Name must be unique within a namespace."},
        "namespace": {"type": "string", "description": "Namespace defines the space within which each name must be unique."},
        "labels": _STRINGS | {"description": "Map of string keys and values to organize and select objects."},
        "annotations": _STRINGS | {"description": "Unstructured key value map stored with a resource."},
        "finalizers": {"type": "array", "items": {"type": "string"}, "description": "Must be empty before the object is deleted."},
        "generateName": {"type": "string", "description": "An optional prefix, used by the server, to generate a unique name."},
        "generation": {"type": "integer", "format": "int64", "description": "Counts the changes of the desired state."},
        "uid": {"type": "string", "description": "Unique in time and space."},
        "resourceVersion": {"type": "string", "description": "Changes with every change of the object."},
        "creationTimestamp": {"type": "string", "format": "date-time", "description": "When the object was created."},
        "deletionTimestamp": {"type": "string", "format": "date-time", "description": "When the object will be deleted."},
    },
}
_TYPE: Final[Mapping[str, Body]] = {
    "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation."},
    "kind": {"type": "string", "description": "Kind is the REST resource this object represents."},
}
_QUERY: Final = ("dryRun", "fieldManager", "fieldValidation", "force")
_PATCHES: Final = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")


def index(registry: Registry) -> Body:
    """`/openapi/v3`: one document for each group and version."""
    found = {}
    for group, versions in registry.versions().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            found[path] = {"serverRelativeURL": f"/openapi/v3/{path}"}
    return {"paths": found}


def document(registry: Registry, group: str, version: str) -> Body:
    """`/openapi/v3/apis/GROUP/VERSION`."""
    kinds = [kind for kind in registry.all() if (kind.group, kind.version) == (group, version) and not kind.creates_only]
    schemas: Body = {_META: _OBJECT_META}
    paths: Body = {}
    for kind in kinds:
        schemas[_name(kind)] = _schema(kind)
        paths |= dict(_paths(kind))
    info = {"title": "Kubernetes", "version": "unversioned"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _name(kind: Kind) -> str:
    return ".".join((*reversed((kind.group or "core.api.k8s.io").split(".")), kind.version, kind.kind))


def _group_version_kind(kind: Kind) -> Body:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema(kind: Kind) -> Body:
    schema: Body = {"type": "object", "x-kubernetes-preserve-unknown-fields": True} if kind.schema is None else dict(kind.schema)
    meta: Body = {"allOf": [{"$ref": f"#/components/schemas/{_META}"}], "description": "Standard object's metadata."}
    schema["properties"] = {**schema.get("properties", {}), **_TYPE, "metadata": meta}
    return schema | {_GVK: [_group_version_kind(kind)]}


def _paths(kind: Kind) -> Iterable[tuple[str, Body]]:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    yield base, {"get": _operation(kind, "list"), "post": _operation(kind, "post")}
    patch = _operation(kind, "patch") | {"requestBody": {"content": {media: {"schema": {"type": "object"}} for media in _PATCHES}}}
    verbs = {"get": _operation(kind, "get"), "put": _operation(kind, "put"), "delete": _operation(kind, "delete"), "patch": patch}
    yield f"{base}/{{name}}", verbs


def _operation(kind: Kind, action: str) -> Body:
    parameters: list[dict[str, Any]] = []
    if action in ("post", "put", "patch"):
        parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY]
    answer = {"schema": {"$ref": f"#/components/schemas/{_name(kind)}"}}
    return {
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": answer}}},
        "x-kubernetes-action": action,
        _GVK: _group_version_kind(kind),
    }
