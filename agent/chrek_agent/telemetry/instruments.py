"""What the parts of an agent report to beside the API server."""

from dataclasses import dataclass, field

from chrek_agent.node.ceilings import Ceilings
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations


@dataclass(frozen=True, slots=True)
class Instruments:
    """One agent's list of operations, its metrics, and what its node can do at best."""

    operations: Operations
    metrics: Metrics
    ceilings: Ceilings = field(default_factory=Ceilings)
