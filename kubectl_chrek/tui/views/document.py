"""An object as YAML."""

from collections.abc import Mapping
from typing import Any, Final

import yaml
from textual.content import Content
from textual.highlight import highlight

from kubectl_chrek.tui.plain import clean_lines

# Colouring takes about a microsecond a character; nobody reads this much.
_HIGHLIGHTED: Final = 100_000


def to_yaml(body: Mapping[str, Any]) -> str:
    """The object in kubectl's order, without `managedFields`, as `kubectl get -o yaml` prints it."""
    metadata = {key: value for key, value in (body.get("metadata") or {}).items() if key != "managedFields"}
    first = {key: body[key] for key in ("apiVersion", "kind") if key in body}
    return yaml.safe_dump({**first, "metadata": metadata, **_rest(body, first)}, sort_keys=False, allow_unicode=True, width=1000)


def document_view(body: Mapping[str, Any]) -> Content:
    """The object as coloured YAML."""
    text = clean_lines(to_yaml(body))
    return highlight(text, language="yaml") if len(text) <= _HIGHLIGHTED else Content(text)


def _rest(body: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in first and key != "metadata"}
