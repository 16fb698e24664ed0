"""The four calls of an adapter, and what it is told of the worker."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Answers = dict[str, str]
"""What was asked -> what the server said to it; the same before a capture and after a restore of a worker that is well."""


@dataclass(frozen=True)
class Worker:
    """A worker, as its pod tells of it."""

    command: Sequence[str]
    framework: str = ""
    """The identity's backendFramework."""
    readiness: Mapping[str, Any] = field(default_factory=dict)
    """Its readinessProbe, ports as numbers."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def words(self) -> list[str]:
        """The command's words, those of a shell's script among them."""
        found: list[str] = []
        for word in self.command:
            try:
                found += shlex.split(word) if any(map(str.isspace, word)) else [word]
            except ValueError:  # A script with an odd quote.
                found += word.split()
        return found

    def flag(self, name: str) -> bool:
        """The command has this switch, in either spelling of its dashes."""
        return any(_spelled(word) == name for word in self.words)

    def option(self, name: str) -> str | None:
        """The value of `--name VALUE` or `--name=VALUE`, the last one."""
        words, found = self.words, None
        for word, following in zip(words, [*words[1:], ""]):  # noqa: B905 - Python 3.9 has no strict
            key, equals, value = word.partition("=")
            if _spelled(key) == name:
                found = value if equals else following
        return found

    def port(self, default: int) -> int:
        """Where the server listens: the command says so, or its readiness probe, or else it is the default."""
        said = self.option("--port") or ""
        probed = (self.readiness.get("httpGet") or {}).get("port")
        return int(said) if said.isdecimal() else probed if isinstance(probed, int) else default


def _spelled(word: str) -> str:
    return word.replace("_", "-") if word.startswith("--") else word


class Adapter(Protocol):
    """A module that has these functions is an adapter. None of them looks at a clock: whoever calls ends them at a deadline."""

    def ready(self, worker: Worker) -> None:
        """Whether the server serves. Raises AdapterError."""

    def quiesce(self, worker: Worker, notes: list[str]) -> dict[str, Any]:
        """Makes it small and still; returns what `resume` has to know.

        What it cannot do without harm it leaves, with a note. Raises AdapterError when the server may be half way: then it is not
        captured.
        """

    def resume(self, worker: Worker, state: Mapping[str, Any]) -> None:
        """Undoes `quiesce` in the restored server. Raises AdapterError."""

    def check(self, worker: Worker) -> Answers:
        """Asks what has the same answer every time. Raises AdapterError when the server does not answer at all."""
