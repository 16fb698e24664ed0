"""What the server says about itself: version, discovery, OpenAPI."""

from typing import Final

from kubectl_chrek.local.apiserver import discovery
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.registry import Registry
from kubectl_chrek.local.apiserver.schemas import openapi

_JSON: Final = "application/json"
_INDEX: Final = "text/plain; charset=utf-8"
"""The index of OpenAPI documents is JSON, but the API server says otherwise."""
_VERSION: Final[Body] = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+chrek-local",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def document(registry: Registry, path: str, accept: str) -> tuple[Body, str] | None:
    """The document at a path and its content type, None if the path is no document's."""
    parts = path.split("/")
    if parts == ["version"]:
        return _VERSION, _JSON
    if parts in (["api"], ["apis"]) and discovery.wants_aggregated(accept):
        return discovery.aggregated(registry, core=parts == ["api"]), discovery.AGGREGATED
    if parts == ["openapi", "v3"]:
        return openapi.index(registry), _INDEX
    found = _openapi(registry, parts[2:]) if parts[:2] == ["openapi", "v3"] else _discovery(registry, parts)
    return (found, _JSON) if found else None


def _openapi(registry: Registry, parts: list[str]) -> Body | None:
    match parts:
        case ["api", version] if version in registry.versions()[""]:
            return openapi.document(registry, "", version)
        case ["apis", group, version] if version in registry.versions().get(group, ()):
            return openapi.document(registry, group, version)
    return None


def _discovery(registry: Registry, parts: list[str]) -> Body | None:
    versions = registry.versions()
    match parts:
        case ["api"]:
            return discovery.versions()
        case ["apis"]:
            return discovery.groups(registry)
        case ["apis", group] if group in versions:
            return discovery.group(registry, group)
        case ["api", *_]:
            return _resources(registry, "", parts[1:])
        case ["apis", group, *rest]:
            return _resources(registry, group, rest)
    return None


def _resources(registry: Registry, group: str, rest: list[str]) -> Body | None:
    if len(rest) != 1 or rest[0] not in registry.versions().get(group, ()):
        return None
    return discovery.resources(registry, group, rest[0])
