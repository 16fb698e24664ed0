"""Copies between repositories of one registry: packs that are an artifact's alone are mounted, and their content is not sent."""

from contextlib import suppress

from chrek_agent.store.artifact import Artifact
from chrek_agent.store.index import index_key, pack_key
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.store import Store


def mount_packs(source: Store, target: Store, artifact: Artifact) -> list[str]:
    """Makes packs of the source packs of the target too, as far as that costs next to nothing; returns which.

    All else is left to be copied chunk by chunk: packs with chunks of others, those that the target would seal otherwise, and all
    of them where the two are not repositories of one registry, or it refuses.
    """
    from chrek_agent.store.oci.backend import RegistryBackend

    if not (isinstance(source.backend, RegistryBackend) and isinstance(target.backend, RegistryBackend)):
        return []
    mounted: list[str] = []
    with suppress(StorageError, FileNotFoundError):
        present = {entry.key for entry in target.backend.list("packs/")}
        for pack, key in sorted(artifact.packs.items()):
            if pack_key(pack) in present or key != target.protection.keys.current or not artifact.owns(pack):
                continue
            # The index last, as a capture does: without one a pack is nothing yet.
            if not all(target.backend.mount(source.backend, name) for name in (pack_key(pack), index_key(pack))):
                break
            mounted.append(pack)
    return mounted
