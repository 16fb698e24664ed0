"""What the parts of an agent report to beside the API server."""

from dataclasses import dataclass

from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations


@dataclass(frozen=True, slots=True)
class Instruments:
    """One agent's list of operations and its metrics."""

    operations: Operations
    metrics: Metrics
