"""Artifacts in the store that no DynamoCheckpoint here owns: kept by `Retain`, imported and never adopted, or another cluster's."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from chrek_agent.store.usage import ArtifactUsage, Usage

SHOWN: Final = 20
"""How many are named, the largest first."""


def orphans(checkpoints: Iterable[Mapping[str, Any]], usage: Usage, namespace: str) -> dict[str, Any]:
    """`status.store.orphans`: how many there are, and the bytes of the store that are theirs alone.

    Args:
        checkpoints: All that the agent serves.
        usage: Of the store, measured before those were listed: what was captured since is not in it.
        namespace: The only one that the agent sees; empty for all. Of others nobody here knows whether they are owned.
    """
    alive = {body["metadata"]["uid"] for body in checkpoints}
    found = [
        artifact
        for artifact in usage.artifacts
        if artifact.owner.uid not in alive and (not namespace or artifact.owner.namespace == namespace)
    ]
    found.sort(key=lambda artifact: (-artifact.unique, artifact.identity_hash, artifact.generation))
    return {
        "artifacts": len(found),
        "bytes": sum(artifact.unique for artifact in found),
        "listed": [_named(artifact) for artifact in found[:SHOWN]],
    }


def _named(artifact: ArtifactUsage) -> dict[str, Any]:
    return {
        "artifact": f"{artifact.identity_hash}/{artifact.generation}",
        "namespace": artifact.owner.namespace,
        "name": artifact.owner.name,
        "bytes": artifact.unique,
    }
