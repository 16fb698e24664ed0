"""An annotation of a checkpoint, set or taken away: what `pin`, `unpin` and `undelete` do."""

from dataclasses import dataclass
from typing import Any

from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Marked:
    """The object as it is now, or would be, and whether there was anything to change."""

    body: Body
    changed: bool = True


async def mark(cluster: Cluster, body: Body, annotation: str, value: str | None, *, dry_run: str = "none") -> Marked:
    """Sets the annotation of that very object; None takes it away. `dry_run` is none, client (nobody is asked) or server.

    Raises:
        ConflictError: Another object has its name by now.
        NotFoundError: It is gone.
    """
    metadata = body["metadata"]
    if dry_run == "client":
        annotations = (metadata.get("annotations") or {}) | {annotation: value}
        left = {name: text for name, text in annotations.items() if text is not None}
        return Marked(body | {"metadata": metadata | {"annotations": left}})
    patch = {"metadata": {"uid": metadata["uid"], "annotations": {annotation: value}}}
    server = dry_run == "server"
    return Marked(await cluster.patch(CHECKPOINTS, metadata["name"], patch, metadata.get("namespace", ""), dry_run=server))
