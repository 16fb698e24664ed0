"""The `checkpoint` block of a DynamoGraphDeployment's services: the only part of a graph that is ours to interpret."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.identity import Identity, parse_identity

AUTO: Final = "Auto"
MANUAL: Final = "Manual"
IMMEDIATE: Final = "Immediate"
WAIT: Final = "WaitForCheckpoint"


@dataclass(frozen=True, slots=True)
class ServiceCheckpoint:
    """One service's checkpoint block, checked. Exactly one of `ref` (a DynamoCheckpoint's metadata.name) and `identity` leads."""

    service: str
    ref: str
    identity: Identity | None
    mode: str
    startup_policy: str = IMMEDIATE
    """Whether pods start cold at once, or wait for a checkpoint that is being made."""

    @property
    def creates(self) -> bool:
        """The operator may create the checkpoint when there is none."""
        return not self.ref and self.mode == AUTO

    @property
    def waits(self) -> bool:
        """Pods are not started before the checkpoint is Ready, as long as it may become that."""
        return self.startup_policy == WAIT


def read_service_checkpoint(service: str, spec: Mapping[str, Any]) -> ServiceCheckpoint | None:
    """Reads `spec.services.<service>.checkpoint`; None when there is none or it is not enabled.

    Raises:
        UsageError: The block contradicts itself or names no checkpoint.
    """
    block = spec.get("checkpoint") or {}
    where = f"spec.services.{service}.checkpoint"
    if not isinstance(block, Mapping):
        raise UsageError(f"{where}: expected a mapping of fields")
    if not block.get("enabled", False):
        return None
    mode = str(block.get("mode") or AUTO).capitalize()
    if mode not in (AUTO, MANUAL):
        raise UsageError(f"{where}.mode: unknown mode {block['mode']!r}", hint="one of auto, manual")
    policy = str(block.get("startupPolicy") or IMMEDIATE)
    if policy not in (IMMEDIATE, WAIT):
        raise UsageError(f"{where}.startupPolicy: unknown policy {policy!r}", hint=f"one of {IMMEDIATE}, {WAIT}")
    ref = str(block.get("checkpointRef") or "")
    identity = parse_identity(block["identity"], where=f"{where}.identity") if block.get("identity") else None
    if not ref and identity is None:
        raise UsageError(f"{where}: give checkpointRef, or identity with model and backendFramework")
    return ServiceCheckpoint(service=service, ref=ref, identity=identity, mode=mode, startup_policy=policy)


def read_checkpoints(graph: Mapping[str, Any]) -> list[ServiceCheckpoint]:
    """The enabled checkpoint blocks of a graph, in the order of its services.

    Raises:
        UsageError: As read_service_checkpoint.
    """
    services = (graph.get("spec") or {}).get("services") or {}
    if not isinstance(services, Mapping):
        raise UsageError("spec.services: expected a mapping of services")
    found = (read_service_checkpoint(str(name), spec or {}) for name, spec in services.items())
    return [checkpoint for checkpoint in found if checkpoint is not None]
