"""The CEL expressions of webhooks' matchConditions, by their form: there is no CEL interpreter here."""

import re
from typing import Final

from kubectl_chrek.local.apiserver.objects import Body, dig

_HAS_KEY: Final = re.compile(r"^has\(object\.metadata\.(annotations|labels)\) && '([^']+)' in object\.metadata\.\1$")


def known(expression: str) -> bool:
    """Whether the expression can be told here."""
    return bool(_HAS_KEY.match(expression))


def holds(expression: str, body: Body | None) -> bool:
    """Whether a known expression is true of an object."""
    found = _HAS_KEY.match(expression)
    return found is not None and found[2] in (dig(body, "metadata", found[1]) or {})
