"""The worker made ready for its capture, with an ear for what it keeps apart."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from chrek_agent.apart.listener import Listener
from chrek_agent.apart.saving import Saving
from chrek_agent.container import acceptance
from chrek_agent.container.discovery import Container
from chrek_agent.cuda.detection import DEVICES
from chrek_agent.errors import CaptureError
from chrek_agent.journal import Record
from chrek_agent.node import facts, gpus
from chrek_agent.store.store import Store
from chrek_agent.store.writer import ArtifactWriter

_GPU: Final = 256 << 30
"""For a GPU whose memory is not known."""
_GPUS: Final = 8
"""Where there are GPUs and it is not known how many."""


@asynccontextmanager
async def prepared(
    container: Container, pod: Mapping[str, Any], framework: str, store: Store, entry: Record
) -> AsyncIterator[tuple[acceptance.Record, Saving]]:
    """Yields what `acceptance.prepare` finds, and what is kept apart: both are for `Capture.run`.

    Of what is apart nothing is left in the store unless it has been committed by the end of the block.

    Args:
        container: The worker's.
        pod: The source pod.
        framework: Its identity's.
        store: Where what is apart goes, at once.
        entry: The capture's, in the journal.

    Raises:
        CaptureError: It is not to be captured like this, and why.
    """

    def begin() -> ArtifactWriter:
        generation = f"apart-{secrets.token_hex(8)}"
        entry.staged(store.scratch / generation)
        return store.begin(generation, compress=False)

    saving = Saving(begin, await asyncio.to_thread(most, container))
    try:
        accepted = await _heard(container, pod, framework, saving)
        saving.check(accepted.get("apart"))
        yield accepted, saving
    finally:
        await asyncio.shield(asyncio.to_thread(saving.abandon))


async def _heard(container: Container, pod: Mapping[str, Any], framework: str, saving: Saving) -> acceptance.Record:
    try:
        listener = await asyncio.to_thread(Listener, container, saving.serve)
    except OSError as error:
        raise CaptureError(f"the worker cannot be heard: {error.strerror or error}") from error
    try:
        return await acceptance.prepare(container, pod, framework)
    finally:
        await asyncio.shield(asyncio.to_thread(listener.close))


def most(container: Container) -> int:
    """The most bytes that a container can keep apart: its memory, and that of all GPUs of the node."""
    found, _ = gpus.node_gpus()
    known = [gpu.memory_bytes or _GPU for gpu in found.values()]
    return facts.memory_limit(container) + sum(known or ([_GPU] * _GPUS if DEVICES.exists() else []))
