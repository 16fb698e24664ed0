"""How far a capture is, and waiting for its end."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import NotReadyError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.formatting import human_bytes, human_seconds

Body = dict[str, Any]

SETTLED = (names.Phase.READY, names.Phase.FAILED)


def step_text(checkpoint: Checkpoint) -> str:
    """What it is doing: the phase, and the step of a capture under way."""
    progress = checkpoint.status.progress
    step = progress.step if progress and checkpoint.phase not in SETTLED else ""
    return f"{checkpoint.phase}: {step}" if step else checkpoint.phase


def progress_text(checkpoint: Checkpoint) -> str:
    """How far the step of a capture under way is: bytes, share, rate and what is left; empty when nothing is being captured."""
    progress = checkpoint.status.progress
    if progress is None or checkpoint.phase in SETTLED:
        return ""
    text = human_bytes(progress.bytes_done)
    if progress.bytes_total:
        text += f" of {human_bytes(progress.bytes_total)} ({progress.bytes_done / progress.bytes_total:.0%})"
    if not progress.bytes_per_second:
        return text
    left = max(progress.bytes_total - progress.bytes_done, 0) / progress.bytes_per_second
    eta = f", {human_seconds(left)} left" if progress.bytes_total else ""
    return f"{text}, {progress.bytes_per_second / 1e9:.2f} GB/s{eta}"


def failure_of(checkpoint: Checkpoint) -> NotReadyError:
    """Why a failed checkpoint failed."""
    reason = checkpoint.status.message or checkpoint.status.failure or "no reason was given"
    hint = (
        f"see `kubectl chrek describe {checkpoint.metadata.name}` and `kubectl logs job/{names.job_name(checkpoint.metadata.name)}`"
    )
    return NotReadyError(f"checkpoint {checkpoint.metadata.name} failed: {reason}", hint=hint)


async def wait_until_settled(
    cluster: Cluster, wanted: Collection[str], namespace: str, *, seconds: float, on_change: Callable[[Checkpoint], None]
) -> dict[str, Body]:
    """Waits until the checkpoints of these names are all Ready or Failed; returns the objects by name.

    Args:
        cluster: The connection.
        wanted: Names of checkpoints.
        namespace: Where they are.
        seconds: How long to wait; 0 waits for ever.
        on_change: Is called with each state that is seen.

    Raises:
        NotReadyError: One is not there or was deleted, or the time is up.
    """
    bodies: dict[str, Body] = {}
    phases: dict[str, str] = {}
    try:
        async with asyncio.timeout(seconds or None), aclosing(cluster.watch(CHECKPOINTS, namespace)) as events:
            async for event in events:
                name = event.object["metadata"]["name"] if event.object else ""
                if event.type == "DELETED" and name in wanted:
                    raise NotReadyError(f"checkpoint {name} was deleted while we waited for it")
                if event.type == "SYNCED" and (missing := set(wanted) - phases.keys()):
                    raise NotReadyError(f"checkpoint {min(missing)} was deleted while we waited for it")
                if name in wanted:
                    checkpoint = read_checkpoint(event.object)
                    bodies[name], phases[name] = event.object, checkpoint.phase
                    on_change(checkpoint)
                if all(phases.get(each) in SETTLED for each in wanted):
                    return bodies
    except TimeoutError as error:
        state = ", ".join(f"{each} is {phases.get(each, 'unknown')}" for each in sorted(wanted))
        hint = "it goes on without us; `kubectl chrek ls -w` follows it"
        raise NotReadyError(f"not ready after {human_seconds(seconds)}: {state}", hint=hint) from error
    raise NotReadyError("the watch ended")
