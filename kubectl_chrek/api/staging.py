"""Annotation `nvidia.com/chrek-stage`: the nodes that are to have an artifact in their caches, by name; `*` is all."""

from collections.abc import Iterable
from typing import Final

ALL: Final = "*"


def parse(annotation: str) -> set[str]:
    """The nodes named."""
    return {name for name in (part.strip() for part in annotation.split(",")) if name}


def wants(annotation: str, node: str) -> bool:
    """Whether a node is among them."""
    return bool(parse(annotation) & {ALL, node})


def joined(annotation: str, nodes: Iterable[str]) -> str:
    """The annotation with more nodes."""
    found = parse(annotation) | set(nodes)
    return ALL if ALL in found else ",".join(sorted(found))
