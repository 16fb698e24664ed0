"""`pin` and `unpin`: a checkpoint that nothing collects, and who wants that and why."""

import getpass
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

_FALSE: Final = ("", "false")


@dataclass(frozen=True, slots=True)
class Pin:
    """Who pinned a checkpoint, why and when; each may be unknown."""

    by: str = ""
    note: str = ""
    at: str = ""
    """RFC 3339."""

    def __str__(self) -> str:
        """For people: `alice: demo on Friday`."""
        return ": ".join(filter(None, (self.by, self.note))) or "yes"


def read_pin(checkpoint: Checkpoint) -> Pin | None:
    """The pin of a checkpoint; None when it has none. Any word but `false` is a pin, told or not."""
    text = checkpoint.metadata.annotations.get(names.ANNOTATION_PIN, "")
    if text in _FALSE:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return Pin(note="" if text == "true" else text)
    fields = found if isinstance(found, Mapping) else {}
    return Pin(*(str(fields.get(name) or "") for name in ("by", "note", "at")))


async def pin(
    cluster: Cluster, name: str, namespace: str | None = None, *, by: str, note: str, now: datetime, dry_run: bool = False
) -> bool:
    """Pins a checkpoint; returns False if the very same pin was there already.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    before = read_pin(read_checkpoint(await cluster.get(CHECKPOINTS, name, namespace)))
    if before is not None and (before.by, before.note) == (by, note):
        return False
    value = json.dumps({"by": by, "note": note, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}, ensure_ascii=False)
    await _annotate(cluster, name, namespace, value, dry_run=dry_run)
    return True


async def unpin(cluster: Cluster, name: str, namespace: str | None = None, *, dry_run: bool = False) -> bool:
    """Takes the pin off; returns whether there was one.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, name, namespace))
    if names.ANNOTATION_PIN not in checkpoint.metadata.annotations:
        return False
    await _annotate(cluster, name, namespace, None, dry_run=dry_run)
    return True


def whoami() -> str:
    """The user's name on this machine; empty when nobody knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


async def _annotate(cluster: Cluster, name: str, namespace: str | None, value: str | None, *, dry_run: bool) -> None:
    patch: dict[str, Any] = {"metadata": {"annotations": {names.ANNOTATION_PIN: value}}}
    await cluster.patch(CHECKPOINTS, name, patch, namespace, dry_run=dry_run)
