"""The parts that rows of tables share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.local.apiserver.kinds import Column
from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.tables.durations import age

NONE: Final = "<none>"


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of a kind, and how an object fills them."""

    columns: tuple[Column, ...]
    row: Callable[[Body], list[Any]]


def columns(titles: str, wide: str = "") -> tuple[Column, ...]:
    """Columns from titles separated by `|`; those of `wide` show with `-o wide` only. A first column Name is the object's name."""
    found = [Column(title) for title in titles.split("|")] + [Column(title, priority=1) for title in wide.split("|") if title]
    first = found[0]
    return (Column(first.name, format="name" if first.name == "Name" else ""), *found[1:])


def name(body: Body) -> str:
    """The object's name."""
    return str(body["metadata"]["name"])


def created(body: Body) -> str:
    """The object's age."""
    return age(body["metadata"].get("creationTimestamp"))


def joined(labels: Mapping[str, Any] | None) -> str:
    """A map of labels as `a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selection(selector: Mapping[str, Any] | None) -> str:
    """A label selector's text."""
    return joined(dig(selector, "matchLabels"))


def images(body: Body, *path: str) -> tuple[str, str]:
    """Names and images of a pod template's containers, each separated by commas."""
    found = dig(body, *path, "spec", "containers") or []
    return ",".join(item["name"] for item in found), ",".join(item["image"] for item in found)
