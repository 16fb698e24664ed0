"""Copying an artifact from one store to another: only what the other lacks is read."""

from chrek_agent.store.store import Store
from chrek_agent.store.transfer.mounting import mount_packs
from chrek_agent.store.transfer.receiving import Progress, Received, Receiving
from chrek_agent.store.transfer.sending import Sending


def copy(
    source: Store, target: Store, identity_hash: str, generation: str, digest: str, progress: Progress | None = None
) -> Received:
    """Copies an artifact, byte for byte: the same manifest names it in both stores. What was copied before is not copied again.

    Each chunk that is sent has been checked. Between repositories of one registry it may do with none: see `mounting`.

    Raises:
        ArtifactError: It is damaged in the source.
        OSError: A store refused.
    """
    with Sending(source, identity_hash, generation, digest, squeeze=target.compress) as sending:
        mount_packs(source, target, sending.artifact)
        with Receiving(target, sending.head, sending.manifest) as receiving:
            missing = receiving.expected
            for done, part in enumerate(sending.chunks(receiving.lacks)):
                if progress is not None:
                    progress(done, missing)
                receiving.add(part)
            received = receiving.finish()
            if progress is not None:
                progress(missing, missing)
            return received
