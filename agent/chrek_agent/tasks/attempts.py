"""Artifacts whose restore failed on this node: each is tried once, and again only when the note of it has expired."""

import json
import logging
import time
from pathlib import Path
from typing import Final

LOG: Final = logging.getLogger(__name__)


class Attempts:
    """Failed generations with their reasons, kept on disk so that an agent's restart forgets none."""

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._failed = self._load()

    def failed(self, generation: str) -> str:
        """Why it failed here; empty when it may be tried."""
        when, reason = self._failed.get(generation, (0.0, ""))
        return reason if time.time() - when < self._seconds else ""

    def note(self, generation: str, reason: str) -> None:
        """Remembers a failure. A disk that refuses is logged: it is remembered in memory all the same."""
        now = time.time()
        self._failed = {name: entry for name, entry in self._failed.items() if now - entry[0] < self._seconds}
        self._failed[generation] = (now, reason)
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(self._failed))
            temporary.replace(self._path)
        except OSError as error:
            LOG.warning("failed restores cannot be kept over a restart: %s", error)

    def _load(self) -> dict[str, tuple[float, str]]:
        try:
            content = json.loads(self._path.read_text())
            return {str(name): (float(when), str(reason)) for name, (when, reason) in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
