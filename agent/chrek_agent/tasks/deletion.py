"""Checkpoints that are being deleted: their artifacts go first, then our finalizer."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from chrek_agent.errors import AgentError
from chrek_agent.store.store import Store
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ConflictError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

LOG: Final = logging.getLogger(__name__)


def is_due(body: Mapping[str, Any]) -> bool:
    """It is being deleted and waits for us."""
    metadata = body["metadata"]
    return bool(metadata.get("deletionTimestamp")) and names.FINALIZER in (metadata.get("finalizers") or [])


def _delete(store: Store, checkpoint: Checkpoint) -> int:
    """Deletes what is the checkpoint's own, however damaged: two checkpoints of one identity share a directory."""
    try:
        identity_hash = checkpoint.hash
    except IdentityError:
        return 0  # It cannot have been captured, and must not wait for ever.
    uid, artifact = checkpoint.metadata.uid, checkpoint.status.artifact
    generations = {manifest.generation for manifest in store.find(identity_hash, uid)}
    if artifact is not None and store.belongs(identity_hash, artifact.generation, uid):
        generations.add(artifact.generation)
    return store.delete(identity_hash, generations)


async def delete_artifact(cluster: Cluster, store: Store, body: Mapping[str, Any]) -> None:
    """Deletes all artifacts of a checkpoint, unless it says Retain, and releases it.

    Agents may race for it: the loser finds nothing to do.
    """
    checkpoint = read_checkpoint(body)
    metadata = checkpoint.metadata
    try:
        count = 0 if checkpoint.retained else await asyncio.to_thread(_delete, store, checkpoint)
    except (AgentError, OSError) as error:
        LOG.warning("artifacts of checkpoint %s/%s could not be deleted: %s", metadata.namespace, metadata.name, error)
        return
    LOG.info("checkpoint %s/%s: deleted %d artifact(s)", metadata.namespace, metadata.name, count)
    index = metadata.finalizers.index(names.FINALIZER)
    path = f"/metadata/finalizers/{index}"
    same = {"/metadata/uid": metadata.uid, path: names.FINALIZER}
    patch = [*({"op": "test", "path": where, "value": value} for where, value in same.items()), {"op": "remove", "path": path}]
    try:
        await cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, type="json")
    except (NotFoundError, ConflictError, UsageError):
        LOG.debug("checkpoint %s/%s was released by another agent", metadata.namespace, metadata.name)
