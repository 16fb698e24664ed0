"""The control directory: how shim and agent talk. Files only; each appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

WAITING = "waiting"
CLAIM = "claim"
OUTCOME = "outcome"
RESTORED = "restored"
COLD = "cold"
SOURCE = "source"
QUIESCE, QUIESCED = "quiesce", "quiesced"
ACCEPT, ACCEPTED = "accept", "accepted"
HOOK, REFRESHED = "hook", "refreshed"
HUSH, HUSHED = "hush", "hushed"


class ControlDirectory:
    """One container's control directory, seen from inside."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def clear(self, *names: str) -> None:
        """Removes what an earlier life of this container left: an emptyDir outlives its containers."""
        for path in [self.path / name for name in names] + [path for name in names for path in self.path.glob(f"{name}.[0-9]*")]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def of_processes(self, name: str) -> dict[str, dict[str, Any]]:
        """The content of a file that each process of the worker may have written, by what follows `name` in its own name."""
        ends = ["", *sorted(path.name[len(name) :] for path in self.path.glob(f"{name}.[0-9]*"))]
        found = {end: self.read(f"{name}{end}") for end in ends}
        return {end: content for end, content in found.items() if content is not None}

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Replaces the file."""
        self._temporary(name, content).replace(self.path / name)

    def decide(self, content: dict[str, Any]) -> bool:
        """Writes the outcome unless there is one; False when the agent was first."""
        temporary = self._temporary(OUTCOME, content)
        try:
            os.link(temporary, self.path / OUTCOME)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def read(self, name: str) -> dict[str, Any] | None:
        """The file's content; None when there is none yet, empty when it cannot be read."""
        try:
            content = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _temporary(self, name: str, content: dict[str, Any]) -> Path:
        path = self.path / f".{name}.{os.getpid()}"
        path.write_text(json.dumps(content))
        path.chmod(0o644)
        return path
