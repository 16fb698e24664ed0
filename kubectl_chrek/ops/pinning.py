"""`pin` and `unpin`: a checkpoint that nothing collects, and who wants that and why."""

import getpass
import json
from datetime import datetime
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.marks import Pin, parse_pin


def read_pin(checkpoint: Checkpoint) -> Pin | None:
    """The pin of a checkpoint; None when it has none."""
    return parse_pin(checkpoint.metadata.annotations.get(names.ANNOTATION_PIN, ""))


async def pin(
    cluster: Cluster, name: str, namespace: str | None = None, *, by: str, note: str, now: datetime, dry_run: bool = False
) -> bool:
    """Pins a checkpoint; returns False if the very same pin was there already.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, name, namespace))
    before = read_pin(checkpoint)
    if before is not None and (before.by, before.note) == (by, note):
        return False
    value = json.dumps({"by": by, "note": note, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}, ensure_ascii=False)
    await _annotate(cluster, checkpoint, value, dry_run=dry_run)
    return True


async def unpin(cluster: Cluster, name: str, namespace: str | None = None, *, dry_run: bool = False) -> bool:
    """Takes the pin off; returns whether there was one.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, name, namespace))
    if names.ANNOTATION_PIN not in checkpoint.metadata.annotations:
        return False
    await _annotate(cluster, checkpoint, None, dry_run=dry_run)
    return True


def whoami() -> str:
    """The user's name on this machine; empty when nobody knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


async def _annotate(cluster: Cluster, checkpoint: Checkpoint, value: str | None, *, dry_run: bool) -> None:
    metadata = checkpoint.metadata
    patch: dict[str, Any] = {"metadata": {"uid": metadata.uid, "annotations": {names.ANNOTATION_PIN: value}}}
    await cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace, dry_run=dry_run)
