"""`export`: a checkpoint's artifact, out of the store through an agent, into one file. What was cut off is continued."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.artifact_file import (
    MAGIC,
    OBJECT,
    PART,
    ArtifactFileError,
    CutError,
    Part,
    check_lengths,
    document,
    measure,
)
from kubectl_chrek.api.checkpoint import Artifact, Checkpoint
from kubectl_chrek.api.errors import ChrekError, ClusterError, NotReadyError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.execution import BrokenExecutionError, CommandError, execute
from kubectl_chrek.ops.agents import Agent, explain, find_agent

ATTEMPTS: Final = 5
"""Connections that may break without one byte more."""

Progress = Callable[[int], None]
"""Told the bytes that are in the file."""


def partial_of(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(f"{path.name}.partial")


async def export(cluster: Cluster, checkpoint: Checkpoint, path: Path, *, node: str = "", raw: bool, progress: Progress) -> int:
    """Writes the artifact to a file; returns its size in bytes.

    Args:
        cluster: The connection.
        checkpoint: Whose artifact.
        path: Where to; until it is whole it is `PATH.partial`, which a later call continues.
        node: Through this node's agent; empty for any.
        raw: Do not compress.
        progress: Told how far it is.

    Raises:
        NotReadyError: It has no artifact, or no agent can reach its store.
        ChrekError: The agent, the connection or the disk refused.
    """
    artifact = checkpoint.status.artifact
    if artifact is None:
        raise NotReadyError(f"checkpoint {checkpoint.metadata.name} is {checkpoint.phase}: there is no artifact to export")
    agent = await find_agent(cluster, node=node, prefer=artifact.node, location=checkpoint.status.location)
    try:
        with partial_of(path).open("a+b") as file:
            await _fill(cluster, agent, checkpoint, artifact, file, raw=raw, progress=progress)
            await asyncio.to_thread(os.fsync, file.fileno())
            size = file.tell()
        partial_of(path).rename(path)
    except OSError as error:
        raise ChrekError(f"{error.filename or path}: {error.strerror or error}") from error
    return size


def saved_object(checkpoint: Checkpoint) -> dict[str, Any]:
    """What an import creates anew: the checkpoint without what is its cluster's own."""
    metadata = {"name": checkpoint.metadata.name}
    return {"apiVersion": names.API_VERSION, "kind": names.CHECKPOINT_KIND, "metadata": metadata, "spec": checkpoint.spec}


async def _fill(
    cluster: Cluster, agent: Agent, checkpoint: Checkpoint, artifact: Artifact, file: BinaryIO, *, raw: bool, progress: Progress
) -> None:
    """Until the file is whole; a connection that breaks is made again."""
    failures, before = 0, -1
    while True:
        skip, complete = _resume(file, artifact)
        if complete:
            return
        size = file.seek(0, os.SEEK_END)
        failures, before = 0 if size > before else failures + 1, size
        words = ["export", f"{checkpoint.hash}/{artifact.generation}", "-", *(["--raw"] if raw else [])]
        words += [] if skip is None else ["--skip", str(skip)]
        note = None if skip is not None else document(OBJECT, json.dumps(saved_object(checkpoint)).encode())
        try:
            await _stream(cluster, agent, agent.command(*words), file, note, progress)
        except CommandError as error:
            raise explain(agent, error) from error
        except BrokenExecutionError:
            if failures >= ATTEMPTS:
                raise
        except ClusterError as error:
            raise explain(agent, error) from error


def _resume(file: BinaryIO, artifact: Artifact) -> tuple[int | None, bool]:
    """Cuts the file to what is whole of it; returns how many chunks that are (None: nothing), and whether it is complete."""
    file.flush()
    try:
        found = measure(file) if file.seek(0, os.SEEK_END) else None
    except ArtifactFileError as error:
        raise ArtifactFileError(f"{file.name} cannot be continued: {error}", hint="remove it") from error
    if found is not None and found.head.digest != artifact.digest:
        raise ArtifactFileError(f"{file.name} is a part of another artifact", hint="remove it, or export to another file")
    file.truncate(found.offset if found else 0)
    return (found.chunks, found.complete) if found else (None, False)


async def _stream(
    cluster: Cluster, agent: Agent, command: list[str], file: BinaryIO, note: Part | None, progress: Progress
) -> None:
    """Appends what the command writes; with a note, that comes behind the head."""
    opening = b""
    async with execute(cluster, agent.pod, agent.namespace, agent.container, command) as execution:
        async with aclosing(execution.read()) as pieces:
            async for piece in pieces:
                data: bytes = piece
                if note is not None:
                    opening += piece
                    end = _end_of_head(opening)
                    if end is None:
                        continue
                    data = b"".join((opening[:end], *map(bytes, note.pieces), opening[end:]))
                    note = None
                file.write(data)
                progress(file.tell())
        if note is not None:
            raise CutError(f"agent {agent.pod} sent no artifact")


def _end_of_head(data: bytes) -> int | None:
    """Where the first part ends; None while it has not all come."""
    start = len(MAGIC) + PART.size
    if len(data) < start:
        return None
    _, label, length = check_lengths(data[len(MAGIC) : start])
    end = start + label + length
    return end if len(data) >= end else None
