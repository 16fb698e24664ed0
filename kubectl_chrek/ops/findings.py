"""What `doctor` finds: each finding with a verdict and, unless all is well, the command that mends it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.node import FAIL, OK, WARN


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `fix` is a command or a sentence that says what to do; empty when there is nothing to do."""

    name: str
    verdict: str
    message: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {"name": self.name, "verdict": self.verdict, "message": self.message, "fix": self.fix}


def ok(name: str, message: str) -> Finding:
    """All is well."""
    return Finding(name, OK, message)


def warn(name: str, message: str, fix: str) -> Finding:
    """It works, but not as it should."""
    return Finding(name, WARN, message, fix)


def fail(name: str, message: str, fix: str) -> Finding:
    """Something cannot work."""
    return Finding(name, FAIL, message, fix)


def unchecked(name: str, error: ChrekError) -> Finding:
    """It could not be found out, which proves nothing."""
    return Finding(name, WARN, f"could not be checked: {error}", error.hint)


def worst(findings: Iterable[Finding]) -> str:
    """The verdict of all of them."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in (FAIL, WARN) if verdict in found), OK)


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many there are of each verdict."""
    return {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in (OK, WARN, FAIL)}
