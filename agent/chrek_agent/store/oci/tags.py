"""Keys as tags, which have no slashes: `packs/<id>.pack` is `packs_<id>.pack`, an artifact is `<hash>__<generation>`.

What begins with an underscore is no object: a note that somebody is writing one.
"""

import re
from typing import Final

from chrek_agent.store.model import MANIFEST

NOTE: Final = "_writing-"

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(/[A-Za-z0-9][A-Za-z0-9.-]*)*")
_LONGEST: Final = 128


def to_tag(key: str) -> str:
    """The tag of a key. Raises ValueError for what is no key, or cannot be one here."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key")
    elements = key.split("/")
    tag = "__".join(elements[:2]) if len(elements) == 3 and elements[2] == MANIFEST else "_".join(elements)
    if len(tag) > _LONGEST:
        raise ValueError(f"{key!r} is too long for a tag")
    return tag


def to_key(tag: str) -> str | None:
    """The key of a tag; None if it is none of ours."""
    head, double, rest = tag.partition("__")
    key = f"{head}/{rest}/{MANIFEST}" if double else tag.replace("_", "/")
    return key if _KEY.fullmatch(key) and to_tag(key) == tag else None
