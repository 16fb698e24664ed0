"""How long a store is tried again that does not answer well."""

import random
from dataclasses import dataclass
from typing import Final

LONGEST_WAIT: Final = 5.0
"""Seconds between two tries, at most."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Times are in seconds."""

    retries: int = 6
    total: float = 30.0
    """After which a request is not sent again."""
    connect: float = 5.0
    request: float = 60.0
    """How long one request may take, or a server may be silent."""
    pause: float = 0.2
    """Before the first repetition, about; then twice as long each time."""

    def wait(self, attempt: int) -> float:
        """How long to wait before this repetition, the first being 1: at random, so that not all come back at once."""
        longest = min(LONGEST_WAIT, self.pause * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - it only spreads
