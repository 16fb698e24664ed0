"""The table of built-in objects' fields: what types they have, how lists of them merge, how protobuf numbers them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

EMBEDDED: Final = "."
ANYTHING: Final = "*"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    name: str
    type: str
    """One of the letters that messages.txt explains, or a message's name."""
    repeated: bool = False
    map: bool = False
    optional: bool = False
    key: str | None = None
    """The key by which items of the list merge, empty for a set, None for a list that is replaced whole."""


@cache
def messages() -> Mapping[str, tuple[Field, ...]]:
    """All messages by name."""
    lines = Path(__file__).with_name("messages.txt").read_text().splitlines()
    return dict(_message(line) for line in lines if not line.startswith("#"))


@cache
def fields(message: str) -> Mapping[str, Field]:
    """The fields of a message by their JSON names, embedded ones among them."""
    found: dict[str, Field] = {}
    for field in messages()[message]:
        found |= fields(field.type) if field.name == EMBEDDED else {field.name: field}
    return found


def known(message: str) -> bool:
    """Whether there is such a message."""
    return message in messages()


def _message(line: str) -> tuple[str, tuple[Field, ...]]:
    name, _, rest = line.partition(":")
    return name, tuple(_field(*part.split()) for part in rest.split(";") if part.strip())


def _field(number: str, name: str, text: str) -> Field:
    text, merged, key = text.partition("@")
    plain = text.removeprefix("[]") if text.startswith("[]") else text.removeprefix("{}")
    optional = plain.endswith("?")
    return Field(
        number=int(number),
        name=name,
        type=plain.removesuffix("?"),
        repeated=text.startswith("[]"),
        map=text.startswith("{}"),
        optional=optional,
        key=key if merged else None,
    )
