"""Which DynamoCheckpoint a service's pods start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chrek_operator.objects import check_label, is_deleting
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import IdentityError, UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint
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
        return _by_name(block, checkpoints, said_hash if said_name == block.ref else None)
    if block.identity is None:
        raise UsageError(f"spec.services.{block.service}.checkpoint: give checkpointRef or identity")
    return _by_identity(block.identity, checkpoints, said_name if said_hash == block.identity.hash else "")


def choose(identity_hash: str, checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The one that lookups by identity take: not a Failed one, rather the one named by its hash, rather the oldest."""
    same = [checkpoint for checkpoint in checkpoints if checkpoint.hash == identity_hash]
    return min(same, key=lambda one: (one.phase == names.Phase.FAILED, one.metadata.name != identity_hash), default=None)


def _by_name(block: ServiceCheckpoint, checkpoints: Sequence[Checkpoint], said_hash: str | None) -> Binding:
    check_label(block.ref, f"spec.services.{block.service}.checkpoint.checkpointRef")
    found = next((checkpoint for checkpoint in checkpoints if checkpoint.metadata.name == block.ref), None)
    if found is None:
        return Binding(block.ref, said_hash or "", None)
    # Pods that were told no hash are found by name all the same.
    return Binding(block.ref, "" if said_hash == "" else found.hash, found)


def _by_identity(identity: Identity, checkpoints: Sequence[Checkpoint], said_name: str) -> Binding:
    wanted = identity.hash
    same = [checkpoint for checkpoint in checkpoints if checkpoint.hash == wanted]
    kept = next((checkpoint for checkpoint in same if checkpoint.metadata.name == said_name), None)
    found = kept or choose(wanted, same)
    return Binding(found.metadata.name if found is not None else wanted, wanted, found)
