"""`verify`: asks an agent to read an artifact back, byte for byte, and to mend it if that is wanted; waits for its answer."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, Verification, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, NotReadyError
from kubectl_chrek.api.repairing import Wish
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.compat import fetch_nodes
from kubectl_chrek.ops.formatting import human_bytes, human_seconds, plural

OK = "ok"
CORRUPT = "corrupt"
FAILED = "failed"
_NAMED = 5
"""So many of those that were not verified in time are named."""


async def fetch_live_nodes(cluster: Cluster, now: datetime) -> list[str]:
    """Names of nodes whose agents are heard of. Raises NotFoundError: the kind is not installed."""
    return [node.metadata.name for node in await fetch_nodes(cluster) if node.alive(now)]


def repair_wish(checkpoint: Checkpoint, nonce: str, live: Iterable[str], sources: Sequence[str]) -> Wish:
    """Who is to mend it: the nodes that have copies in their caches, the largest first; without any, whoever comes first."""
    alive = set(live)
    holding = [copy for copy in checkpoint.status.caches if copy.bytes and copy.node in alive]
    ordered = sorted(holding, key=lambda copy: (-copy.bytes, copy.node))
    return Wish(nonce, tuple(copy.node for copy in ordered), tuple(sources))


async def request(cluster: Cluster, checkpoint: Checkpoint, nonce: str, repair: Wish | None = None) -> None:
    """Asks for it: `status.verification` will hold the answer to this nonce.

    Args:
        cluster: The connection.
        checkpoint: Which.
        nonce: A new one.
        repair: How what is damaged is to be mended; None: not at all.

    Raises:
        NotReadyError: It has no artifact.
        NotFoundError: The checkpoint is gone.
    """
    if checkpoint.status.artifact is None:
        raise NotReadyError(f"checkpoint {checkpoint.metadata.name} is {checkpoint.phase}: it has no artifact to verify")
    metadata = checkpoint.metadata
    annotations = {names.ANNOTATION_VERIFY: nonce, names.ANNOTATION_REPAIR: repair.dump() if repair else None}
    patch = {"metadata": {"uid": metadata.uid, "annotations": annotations}}
    await cluster.patch(CHECKPOINTS, metadata.name, patch, metadata.namespace)


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
                    if answer and answer.nonce == nonce and answer.result in (OK, CORRUPT, FAILED):
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


def is_good(answer: Verification, *, signed: bool) -> bool:
    """It is whole and, where that is asked for, signed by somebody whom the agents trust."""
    return answer.result == OK and bool(answer.signed_by or not signed)


def outcome(name: str, answer: Verification, *, signed: bool = False) -> str:
    """The answer in one line; `signed`: a signature was asked for."""
    if answer.result != OK:
        state = "is corrupt" if answer.result == CORRUPT else "could not be verified"
        return f"{name} {state}: {answer.message or 'no reason was given'}"
    if signed and not answer.signed_by:
        return f"{name} is whole, but not signed: {answer.unsigned or 'its agent does not look for signatures'}"
    by = f", signed by {answer.signed_by[:16]}" if answer.signed_by else ""
    rate = f", {answer.bytes / answer.seconds / 1e9:.2f} GB/s" if answer.seconds and answer.bytes else ""
    mended = f", {plural(answer.repaired_chunks, 'chunk')} stored anew" if answer.repaired_chunks else ""
    verb = "repaired" if mended else "verified"
    return f"{name} {verb}: {human_bytes(answer.bytes)} in {human_seconds(answer.seconds)}{rate}{mended}{by}"


def _late(asked: Mapping[str, str], answers: Mapping[str, Verification], seconds: float) -> ChrekError:
    late = sorted(name for uid, name in asked.items() if uid not in answers)
    left = ", ".join(late[:_NAMED]) + (f" and {len(late) - _NAMED} more" if len(late) > _NAMED else "")
    hint = f"it goes on without us; see `kubectl chrek doctor` and the logs of {names.AGENT}"
    return NotReadyError(f"not verified after {human_seconds(seconds)}: {left}", hint=hint)
