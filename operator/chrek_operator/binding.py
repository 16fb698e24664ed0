"""Which DynamoCheckpoint a service's pods start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chrek_operator.objects import check_label, check_name, is_deleting
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import IdentityError, UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint, read_service_checkpoint
from kubectl_chrek.api.identity import Identity

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Binding:
    """A service's checkpoint: what its pods' labels say, and the object if there is one."""

    name: str
    identity_hash: str
    """Empty while a checkpoint that is referred to by name does not exist."""
    found: Checkpoint | None

    @property
    def ready(self) -> bool:
        """New pods restore."""
        return self.found is not None and self.found.ready

    @property
    def template(self) -> Body | None:
        """The pod template the checkpoint is made from."""
        return self.found.job.pod_template_spec if self.found is not None else None


def usable(bodies: Sequence[Body]) -> list[Checkpoint]:
    """The checkpoints among these objects that have a hash and are not being deleted, oldest first."""
    checkpoints = []
    for body in sorted(bodies, key=lambda item: (item["metadata"].get("creationTimestamp") or "", item["metadata"]["name"])):
        try:
            checkpoint = read_checkpoint(body)
            _ = checkpoint.hash, checkpoint.job
        except (IdentityError, ValidationError):
            continue
        if not is_deleting(body):
            checkpoints.append(checkpoint)
    return checkpoints


def bind(block: ServiceCheckpoint, checkpoints: Sequence[Checkpoint], template: Mapping[str, Any] | None) -> Binding:
    """Chooses the checkpoint of a service.

    Args:
        block: The service's checkpoint block.
        checkpoints: Those of its namespace, as `usable` returns them.
        template: The pod template its Deployment has now. What that says is kept as long as it is true: a checkpoint that appears
            or vanishes must not roll out anything.

    Raises:
        UsageError: The reference cannot be a label's value.
    """
    labels = ((template or {}).get("metadata") or {}).get("labels") or {}
    said_name, said_hash = labels.get(names.LABEL_NAME, ""), labels.get(names.LABEL_HASH, "")
    if block.ref:
        return _by_name(block, checkpoints, said_name, said_hash)
    if block.identity is None:
        raise UsageError(f"spec.services.{block.service}.checkpoint: give checkpointRef or identity")
    return _by_identity(block.identity, checkpoints, said_name if said_hash == block.identity.hash else "")


def read_block(graph: Mapping[str, Any], service: str) -> ServiceCheckpoint | None:
    """A service's checkpoint block; None when it has none, or it is not enabled.

    Raises:
        UsageError: The block is wrong, or its worker is none that can be captured.
    """
    spec = graph["spec"]["services"][service] or {}
    block = read_service_checkpoint(service, spec)
    flaw = multinode_flaw(service, spec) if block is not None else ""
    if flaw:
        raise UsageError(flaw, hint="disable its checkpoint, or set nodeCount to 1")
    return block


def multinode_flaw(service: str, spec: Mapping[str, Any]) -> str:
    """Why a service's worker cannot be captured, although its checkpoint block is right; empty if it can."""
    nodes = (spec.get("multinode") or {}).get("nodeCount") or 1
    return f"spec.services.{service}.multinode: a worker of {nodes} pods cannot be captured" if nodes > 1 else ""


def awaited(block: ServiceCheckpoint, binding: Binding) -> bool:
    """The service's pods wait for their checkpoint, and it may still become Ready."""
    if not block.waits or binding.ready:
        return False
    if binding.found is None:
        return block.creates or bool(block.ref)
    return binding.found.phase != names.Phase.FAILED


def choose(identity_hash: str, checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The one that lookups by identity take: not a Failed one, rather the one named by its hash, rather the oldest."""
    same = [checkpoint for checkpoint in checkpoints if checkpoint.hash == identity_hash]
    return min(same, key=lambda one: (one.phase == names.Phase.FAILED, one.metadata.name != identity_hash), default=None)


def _by_name(block: ServiceCheckpoint, checkpoints: Sequence[Checkpoint], said_name: str, said_hash: str) -> Binding:
    check_label(check_name(block.ref), f"spec.services.{block.service}.checkpoint.checkpointRef")
    said = block.ref in (said_name, said_hash)
    name = said_name if said else block.ref
    found = next((checkpoint for checkpoint in checkpoints if checkpoint.metadata.name == name), None)
    if found is None and not said:
        # The guide calls a reference a hash, whatever the checkpoint's name.
        found = choose(block.ref, checkpoints)
    if found is None:
        return Binding(name, said_hash if said else "", None)
    # Pods that were told no hash are found by name all the same.
    return Binding(found.metadata.name, "" if said and not said_hash else found.hash, found)


def _by_identity(identity: Identity, checkpoints: Sequence[Checkpoint], said_name: str) -> Binding:
    wanted = identity.hash
    same = [checkpoint for checkpoint in checkpoints if checkpoint.hash == wanted]
    kept = next((checkpoint for checkpoint in same if checkpoint.metadata.name == said_name), None)
    found = kept or choose(wanted, same)
    return Binding(found.metadata.name if found is not None else wanted, wanted, found)
