"""Copying an artifact from one store to another: only what the other lacks is read."""

from chrek_agent.store.store import Store
from chrek_agent.store.transfer.receiving import Progress, Received, Receiving
from chrek_agent.store.transfer.sending import Sending


def copy(
    source: Store, target: Store, identity_hash: str, generation: str, digest: str, progress: Progress | None = None
) -> Received:
    """Copies an artifact, byte for byte: the same manifest names it in both stores.

    Raises:
        ArtifactError: It is damaged in the source.
        OSError: A store refused.
    """
    with (
        Sending(source, identity_hash, generation, digest, squeeze=target.compress) as sending,
        Receiving(target, sending.head, sending.manifest) as receiving,
    ):
        for done, part in enumerate(sending.chunks(receiving.lacks), start=1):
            receiving.add(part)
            if progress is not None:
                progress(done, sending.head.chunks)
        return receiving.finish()
