"""A capture lasts as long as its checkpoint is wanted: one that is deleted meanwhile ends it soon."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final, TypeVar

from chrek_agent.errors import CaptureError
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import ChrekError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

SECONDS: Final = 1.0
"""Between two looks at the checkpoint."""

T = TypeVar("T")


async def while_wanted(cluster: Cluster, checkpoint: Checkpoint, work: Coroutine[None, None, T], *, seconds: float = SECONDS) -> T:
    """Awaits `work`, and cancels it when the checkpoint is deleted, or another of its name has taken its place.

    Raises:
        CaptureError: It is not wanted any more; what it had begun is undone by then.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=seconds)
            if not task.done() and not await _is_wanted(cluster, checkpoint):
                task.cancel()
                with suppress(asyncio.CancelledError, ChrekError):
                    await task
                raise CaptureError(f"checkpoint {checkpoint.metadata.name} was deleted during its capture")
        return await task
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, ChrekError):
                await task


async def _is_wanted(cluster: Cluster, checkpoint: Checkpoint) -> bool:
    """An API server that does not answer is no reason to give up."""
    try:
        body = await cluster.get(CHECKPOINTS, checkpoint.metadata.name, checkpoint.metadata.namespace)
    except NotFoundError:
        return False
    except ChrekError:
        return True
    metadata = body["metadata"]
    return not metadata.get("deletionTimestamp") and metadata.get("uid", "") == checkpoint.metadata.uid
