"""All kinds the server knows at the moment."""

from collections.abc import Iterable
from typing import Any

from kubectl_chrek.local.apiserver.kinds import BUILT_IN, Column, Kind
from kubectl_chrek.local.apiserver.objects import Body

_AGE = Column("Age", "date", ".metadata.creationTimestamp")


class Registry:
    """Kinds by group, version and plural; definitions come and go."""

    def __init__(self) -> None:
        self._kinds = {(kind.group, kind.version, kind.plural): kind for kind in BUILT_IN}

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind at a path, or None."""
        return self._kinds.get((group, version, plural))

    def stored(self, resource: str) -> Kind:
        """A kind by its key in the store; any version will do. Raises KeyError."""
        for kind in self._kinds.values():
            if kind.resource == resource:
                return kind
        raise KeyError(resource)

    def named(self, api_version: str, kind: str) -> Kind | None:
        """The kind by apiVersion and kind, or None."""
        return next((found for found in self._kinds.values() if (found.api_version, found.kind) == (api_version, kind)), None)

    def all(self) -> Iterable[Kind]:
        """Every kind; built-in ones first, in the order in which clients should prefer them."""
        return list(self._kinds.values())

    def versions(self) -> dict[str, list[str]]:
        """Versions by group, the core group (empty) included."""
        found: dict[str, list[str]] = {}
        for kind in self._kinds.values():
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return found

    def built_in(self, group: str, version: str) -> bool:
        """Whether a group's version is the server's own, and not a definition's."""
        return any((kind.group, kind.version) == (group, version) for kind in BUILT_IN)

    def define(self, definition: Body) -> None:
        """Serves what a CustomResourceDefinition describes, in place of what it described before."""
        self.forget(definition)
        for kind in _kinds(definition):
            self._kinds[kind.group, kind.version, kind.plural] = kind

    def forget(self, definition: Body) -> None:
        """Serves it no longer."""
        spec = definition["spec"]
        for kind in list(self._kinds.values()):
            if kind.custom and (kind.group, kind.plural) == (spec["group"], spec["names"]["plural"]):
                del self._kinds[kind.group, kind.version, kind.plural]


def _kinds(definition: Body) -> Iterable[Kind]:
    spec = definition["spec"]
    given = spec["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        yield Kind(
            group=spec["group"],
            version=version["name"],
            kind=given["kind"],
            plural=given["plural"],
            singular=given.get("singular", ""),
            list_kind=given.get("listKind", ""),
            namespaced=spec["scope"] == "Namespaced",
            short=tuple(given.get("shortNames", ())),
            categories=tuple(given.get("categories", ())),
            subresources=frozenset(subresources),
            generations=True,
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True},
            columns=_columns(version.get("additionalPrinterColumns")),
        )


def _columns(found: list[dict[str, Any]] | None) -> tuple[Column, ...]:
    first = Column("Name", format="name", path=".metadata.name")
    if not found:
        return (first, _AGE)
    columns = [
        Column(item["name"], item["type"], item["jsonPath"], item.get("priority", 0), item.get("description", "")) for item in found
    ]
    return (first, *columns)
