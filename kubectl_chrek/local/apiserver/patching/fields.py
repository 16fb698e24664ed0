"""Which lists of an object are keyed, and which fields an applied configuration sets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.schemas.messages import fields, known

Schema = Mapping[str, Any]
Step = str | tuple[tuple[str, Any], ...]
"""A key of a map, or the identity of an item: its keys and their values (for a set, the value itself, keyed by `""`)."""
Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known about one place in an object; `identity` tells items of the list there apart, None if it is atomic."""

    identity: Callable[[Any], Step] | None = None
    schema: Schema | None = None
    """The structural schema of a custom resource."""
    message: str = ""
    """The message of a built-in object."""
    atomic: bool = False
    root: bool = False

    def field(self, key: str) -> "Shape":
        """The shape of a map's field."""
        if self.schema is None:
            return _built_in(self.message, key)
        if key == "metadata" and self.root:
            return Shape(message="ObjectMeta")
        schema = self.schema.get("properties", {}).get(key) or self.schema.get("additionalProperties")
        return _custom(schema if isinstance(schema, Mapping) else {})

    def item(self) -> "Shape":
        """The shape of a list's items."""
        return Shape(message=self.message) if self.schema is None else _custom(self.schema.get("items", {}))


def shape_of(kind: Kind) -> Shape:
    """The shape of a whole object."""
    return Shape(schema=kind.schema, message="" if kind.custom else kind.kind, root=True)


def owned(value: Any, shape: Shape, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All leaves that an applied configuration sets, with their values; keyed items count as leaves of their own (value None)."""
    if isinstance(value, dict) and value and not shape.atomic:
        for key, item in value.items():
            yield from owned(item, shape.field(key), (*path, key))
    elif isinstance(value, list) and shape.identity is not None:
        for item in value:
            here = (*path, shape.identity(item))
            yield here, None
            if isinstance(item, dict):
                yield from owned(item, shape.item(), here)
    else:
        yield path, value


def _custom(schema: Schema) -> Shape:
    keys, kind = schema.get("x-kubernetes-list-map-keys"), schema.get("x-kubernetes-list-type")
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if kind == "map" and keys:
        return Shape(lambda item: tuple((key, item.get(key)) for key in keys), schema, atomic=atomic)
    return Shape(_itself if kind == "set" else None, schema, atomic=atomic)


def _built_in(message: str, key: str) -> Shape:
    found = fields(message).get(key) if known(message) else None
    if found is None:
        return Shape()
    name = found.key
    if not found.repeated or name is None:
        return Shape(message="" if found.map else found.type)
    identity: Callable[[Any], Step] = (lambda item: ((name, item.get(name)),)) if name else _itself
    return Shape(identity, message=found.type)


def _itself(item: Any) -> Step:
    return (("", item),)
