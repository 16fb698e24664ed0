"""YAML, read as strictly as Kubernetes reads it. Apart from documents.py, because importing YAML takes time that JSON need not."""

import re
from collections.abc import Hashable
from typing import Any, Final

import yaml

DEEPEST: Final = 200
"""Levels of nesting that no document of ours comes near."""


class YamlProblemError(ValueError):
    """The text is not one good YAML document; `line` counts from 1 within it."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the C part is there where libyaml is
    """Safe YAML that refuses duplicate keys and, like Kubernetes' parser, takes `1e5` for a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            # Merge keys may repeat what the mapping itself says: that is their purpose.
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise YamlProblemError(f"key {key.value!r} is given twice", key.start_mark.line + 1)
            seen.add((key.tag, key.value))
        constructed: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return constructed


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _check_depth(text: str) -> None:
    """Refuses what is nested too deeply: libyaml's loader recurses on the C stack and would crash the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise YamlProblemError("nested too deeply")


def parse_yaml(text: str) -> Any:
    """The content of a single YAML document.

    Raises:
        YamlProblemError: It is not valid YAML, or gives a key twice.
    """
    try:
        if sum(map(text.count, "[{-?")) > DEEPEST:
            _check_depth(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "syntax error"
        raise YamlProblemError(f"not valid YAML: {reason}", mark.line + 1 if mark else 1) from error
    except YamlProblemError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise YamlProblemError(f"not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise YamlProblemError("nested too deeply") from error
