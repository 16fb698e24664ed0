"""Whose an artifact is: what its manifest says. It changes hands by a second manifest beside the first; no chunk moves."""

import hashlib
from typing import Final

from chrek_agent.store.model import MANIFEST, Manifest, Owner, digest_manifest, dump_manifest
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.receiving import Received

_SUFFIX: Final = 8


def is_offer(owner: Owner) -> bool:
    """It was imported for a namespace, and is no checkpoint's yet."""
    return not owner.uid


def restate(store: Store, manifest: Manifest, generation: str, owner: Owner) -> tuple[Manifest, str]:
    """The same content as an artifact of this name and owner, with its manifest's digest; none is made that is there already.

    It is signed if the other is. Raises OSError: the store refused.
    """
    restated = manifest.model_copy(update={"generation": generation, "owner": owner})
    content = dump_manifest(restated)
    try:
        store.publish(restated, like=manifest.generation)
    except FileExistsError:
        if store.backend.read(f"{manifest.identity_hash}/{generation}/{MANIFEST}", 0, len(content) + 1) != content:
            raise
    return restated, digest_manifest(content)


def offer(store: Store, received: Received, namespace: str) -> Received:
    """What was imported, as an artifact for this namespace's checkpoints to adopt; the same each time that it is imported.

    Raises OSError: the store refused.
    """
    manifest = received.manifest
    name = f"{manifest.generation}-{hashlib.sha256(namespace.encode()).hexdigest()[:_SUFFIX]}"
    offered, digest = restate(store, manifest, name, Owner(namespace=namespace, name="", uid=""))
    if received.fresh:
        store.delete(manifest.identity_hash, {manifest.generation})
    return Received(offered, digest, fresh=True, chunks=received.chunks, bytes=received.bytes)
