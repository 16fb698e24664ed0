"""`pin` and `unpin`: a checkpoint that nothing collects, and who wants that and why."""

import getpass
import json
from datetime import datetime

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.marking import Marked, mark
from kubectl_chrek.ops.marks import Pin, parse_pin


def read_pin(checkpoint: Checkpoint) -> Pin | None:
    """The pin of a checkpoint; None when it has none."""
    return parse_pin(checkpoint.metadata.annotations.get(names.ANNOTATION_PIN, ""))


async def pin(
    cluster: Cluster, name: str, namespace: str | None = None, *, by: str, note: str, now: datetime, dry_run: str = "none"
) -> Marked:
    """Pins a checkpoint, unless the very same pin is there already; `dry_run` as mark.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    body = await cluster.get(CHECKPOINTS, name, namespace)
    before = read_pin(read_checkpoint(body))
    if before is not None and (before.by, before.note) == (by, note):
        return Marked(body, changed=False)
    value = json.dumps({"by": by, "note": note, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}, ensure_ascii=False)
    return await mark(cluster, body, names.ANNOTATION_PIN, value, dry_run=dry_run)


async def unpin(cluster: Cluster, name: str, namespace: str | None = None, *, dry_run: str = "none") -> Marked:
    """Takes the pin off, if there is one; `dry_run` as mark.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    body = await cluster.get(CHECKPOINTS, name, namespace)
    if names.ANNOTATION_PIN not in read_checkpoint(body).metadata.annotations:
        return Marked(body, changed=False)
    return await mark(cluster, body, names.ANNOTATION_PIN, None, dry_run=dry_run)


def whoami() -> str:
    """The user's name on this machine; empty when nobody knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
