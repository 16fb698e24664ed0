"""Annotation `nvidia.com/chrek-repair`: what a verification finds damaged is to be mended, and by whom."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kubectl_chrek.api import names

DAMAGED = "damaged"
"""`status.verification.result` of a node that could not mend it all: the next one of `nodes` is to try."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The annotation's value.

    Attributes:
        nonce: Of the verification that it belongs to.
        nodes: Are asked one after the other, for what their caches hold; none: whichever agent comes first.
        sources: Other stores to fetch from; none: all that agents may read for this.
    """

    nonce: str
    nodes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def dump(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self))

    def follower(self, node: str) -> str:
        """The node that is to try after this one; empty: it is the last."""
        if node not in self.nodes:
            return ""
        return next(iter(self.nodes[self.nodes.index(node) + 1 :]), "")


def read_wish(metadata: Mapping[str, Any], nonce: str) -> Wish | None:
    """What is asked for together with the verification of this nonce; None: to find out, and no more."""
    try:
        found = json.loads((metadata.get("annotations") or {}).get(names.ANNOTATION_REPAIR, ""))
        wish = Wish(str(found["nonce"]), tuple(map(str, found["nodes"])), tuple(map(str, found["sources"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return wish if wish.nonce == nonce else None
