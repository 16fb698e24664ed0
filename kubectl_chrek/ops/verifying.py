"""`verify`: asks an agent to read an artifact back, byte for byte, and waits for its answer."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, Verification, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, NotReadyError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.formatting import human_bytes, human_seconds

OK = "ok"
CORRUPT = "corrupt"


async def request(cluster: Cluster, checkpoint: Checkpoint, nonce: str) -> None:
    """Asks for it: `status.verification` will hold the answer to this nonce.

    Raises:
        NotReadyError: It has no artifact.
        NotFoundError: The checkpoint is gone.
    """
    if checkpoint.status.artifact is None:
        raise NotReadyError(f"checkpoint {checkpoint.metadata.name} is {checkpoint.phase}: it has no artifact to verify")
    patch = {"metadata": {"annotations": {names.ANNOTATION_VERIFY: nonce}}}
    await cluster.patch(CHECKPOINTS, checkpoint.metadata.name, patch, checkpoint.metadata.namespace)


async def wait_until_verified(
    cluster: Cluster, asked: Mapping[str, str], scope: str, *, nonce: str, seconds: float, on_change: Callable[[Checkpoint], None]
) -> dict[str, Verification]:
    """The answers by UID.

    Args:
        cluster: The connection.
        asked: Names of the checkpoints by their UIDs.
        scope: Where they are; empty for all namespaces.
        nonce: What was asked with.
        seconds: How long to wait; 0 waits for ever.
        on_change: Is called with each state that is seen.

    Raises:
        NotReadyError: One was deleted, or the time is up.
    """
    answers: dict[str, Verification] = {}
    seen: set[str] = set()
    try:
        async with asyncio.timeout(seconds or None), aclosing(cluster.watch(CHECKPOINTS, scope)) as events:
            async for event in events:
                uid = event.object["metadata"]["uid"] if event.object else ""
                gone = set(asked) - seen if event.type == "SYNCED" else {uid} & asked.keys() if event.type == "DELETED" else set()
                if gone:
                    raise NotReadyError(f"checkpoint {asked[min(gone)]} was deleted while it was verified")
                if uid in asked:
                    seen.add(uid)
                    checkpoint = read_checkpoint(event.object)
                    on_change(checkpoint)
                    answer = checkpoint.status.verification
                    if answer and answer.nonce == nonce and answer.result in (OK, CORRUPT):
                        answers[uid] = answer
                if answers.keys() >= asked.keys():
                    return answers
    except TimeoutError as error:
        raise _late(asked, answers, seconds) from error
    raise NotReadyError("the watch ended")


def progress_text(checkpoint: Checkpoint, nonce: str) -> str:
    """How far it is; empty before it has begun."""
    answer = checkpoint.status.verification
    if answer is None or answer.nonce != nonce:
        return ""
    total = answer.bytes_total
    text = human_bytes(answer.bytes) + (f" of {human_bytes(total)} ({answer.bytes / total:.0%})" if total else "")
    return text + (f", {answer.bytes / answer.seconds / 1e9:.2f} GB/s" if answer.seconds else "")


def outcome(name: str, answer: Verification) -> str:
    """The answer in one line."""
    if answer.result != OK:
        return f"{name} is corrupt: {answer.message or 'no reason was given'}"
    rate = f", {answer.bytes / answer.seconds / 1e9:.2f} GB/s" if answer.seconds and answer.bytes else ""
    return f"{name} verified: {human_bytes(answer.bytes)} in {human_seconds(answer.seconds)}{rate}"


def _late(asked: Mapping[str, str], answers: Mapping[str, Verification], seconds: float) -> ChrekError:
    left = ", ".join(sorted(name for uid, name in asked.items() if uid not in answers))
    hint = f"it goes on without us; see `kubectl chrek doctor` and the logs of {names.AGENT}"
    return NotReadyError(f"not verified after {human_seconds(seconds)}: {left}", hint=hint)
