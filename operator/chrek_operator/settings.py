"""What an operator is told at its start."""

from dataclasses import dataclass
from typing import Literal

from kubectl_chrek.api import names

Mode = Literal["own", "integrate"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings. Times are in seconds."""

    namespaces: tuple[str, ...] = ()
    """Empty: all namespaces."""
    mode: Mode = "own"
    """`own`: graphs become Deployments. `integrate`: another operator runs graphs, ours only creates their checkpoints."""
    storage_type: str = "pvc"
    base_path: str = names.BASE_PATH
    poll: float = 10.0
    """How often a checkpoint in the making is looked at when no event comes: pods are not watched."""
    grace: float = 30.0
    """How long after its Job's success an artifact may still appear."""
    resync: float = 60.0
    """How often everything is looked at, whatever the events said."""
