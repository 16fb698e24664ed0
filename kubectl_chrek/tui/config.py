"""The user's own settings of the TUI: keys and theme, from a file of the usual place."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.tui.actions import ACTIONS

_KNOWN: Final = ("theme", "keys")


@dataclass(frozen=True, slots=True)
class Config:
    """`keys` maps an action's id to the keys that it gets instead of its own; an empty theme is Textual's."""

    theme: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)


def config_path() -> Path:
    """Where the file is looked for: `$XDG_CONFIG_HOME/kubectl-chrek/config.yaml`, by default under ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kubectl-chrek" / "config.yaml"


def load_config(path: Path) -> Config:
    """The settings; those of a file that is not there are the defaults.

    Raises:
        UsageError: The file cannot be read, or says something that we do not know.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    return read_config(text, str(path))


def read_config(text: str, where: str) -> Config:
    """The settings in a document.

    Raises:
        UsageError: It is no YAML, or says something that we do not know.
    """
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    content = {} if found is None else found
    if not isinstance(content, Mapping):
        raise UsageError(f"{where}: expected a mapping", hint=f"it may hold {' and '.join(_KNOWN)}")
    unknown = [key for key in content if key not in _KNOWN]
    if unknown:
        raise UsageError(f"{where}: unknown setting {unknown[0]!r}", hint=f"it may hold {' and '.join(_KNOWN)}")
    return Config(theme=str(content.get("theme") or ""), keys=_keys(content.get("keys") or {}, where))


def _keys(content: object, where: str) -> dict[str, str]:
    if not isinstance(content, Mapping):
        raise UsageError(f"{where}: keys: expected a mapping of actions to keys")
    known = {action.id for action in ACTIONS}
    keys: dict[str, str] = {}
    for name, value in content.items():
        if name not in known:
            raise UsageError(f"{where}: keys: there is no action {name!r}", hint="docs/tui.md lists them")
        if not isinstance(value, str) or not value:
            raise UsageError(f"{where}: keys: {name}: expected the name of a key, or several with commas", hint="say ctrl+x")
        keys[str(name)] = value
    return keys
