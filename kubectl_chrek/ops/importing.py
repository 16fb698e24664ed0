"""`import`: an artifact out of a file, through an agent, into its store, and a checkpoint that adopts it.

The agent is asked first what its store lacks, and only that is sent: an import that was cut off goes on where it was.
"""

import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.artifact_file import (
    CHUNK,
    END,
    MAGIC,
    MANIFEST,
    OBJECT,
    ArtifactFileError,
    CutError,
    Head,
    Part,
    measure,
    read_head,
    read_object,
    read_part,
    read_parts,
)
from kubectl_chrek.api.errors import ChrekError, ClusterError, ConflictError, NotFoundError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.execution import BrokenExecutionError, CommandError, converse, execute
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.agents import Agent, explain

ATTEMPTS: Final = 5
"""Connections that may break without one chunk more."""

Body = dict[str, Any]
Progress = Callable[[int, int], None]
"""Told the bytes of the file that are done, and all."""


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A whole file: its parts before the chunks, and the checkpoint that it is of."""

    head: Head
    opening: tuple[Part, ...]
    saved: Body
    size: int
    first: int
    """Where its first chunk begins."""


def read_file(file: BinaryIO) -> ArtifactFile:
    """Looks at a file.

    Raises:
        ArtifactFileError: It is none, has no end, or does not tell of a checkpoint.
        OSError: It cannot be read.
    """
    found = measure(file)
    file.seek(0)
    if not MAGIC.startswith(file.read(len(MAGIC))):
        # What is so short that it has no head, but is no beginning of one either.
        raise ArtifactFileError("this is no artifact that `export` wrote, or one of another version")
    if found is None or not found.complete:
        raise CutError("the file ends before its end", hint="export it again: what is there is continued; or copy it again")
    file.seek(0)
    opening: list[Part] = []
    for part in read_parts(file):
        opening.append(part)
        if part.kind == MANIFEST:
            break
    saved = next((read_object(part) for part in opening if part.kind == OBJECT), None)
    if saved is None:
        hint = "write it with `kubectl chrek export`, or import it on a node by `chrek-agent import`"
        raise ArtifactFileError("the file does not tell of a checkpoint", hint=hint)
    head = read_head(opening[0])
    if parse_identity((saved.get("spec") or {}).get("identity"), where="the file's spec.identity").hash != head.identity_hash:
        raise ArtifactFileError("the file's checkpoint is not its artifact's")
    return ArtifactFile(head, tuple(part for part in opening if part.kind != OBJECT), saved, found.offset, file.tell())


async def check_absent(cluster: Cluster, name: str) -> None:
    """Raises ConflictError if there is a checkpoint of this name."""
    try:
        await cluster.get(CHECKPOINTS, name)
    except NotFoundError as error:
        if error.hint:
            raise  # Not the object, but its kind is missing.
        return
    raise ConflictError(f"checkpoint {name} exists", hint="give the imported one another name by --name")


async def send(cluster: Cluster, agent: Agent, file: BinaryIO, found: ArtifactFile, progress: Progress) -> Body:
    """Puts the artifact into the agent's store; returns what the agent says of it: artifact, digest, fresh, ...

    Raises:
        ChrekError: The agent refused, or the connection is lost for good.
    """
    failures, before = 0, -1
    while True:
        asked = await _run(cluster, agent, ["import", "-", "--ask"], _opening(found))
        lacking = int(asked["lacking"])
        failures, before = 0 if before < 0 or lacking < before else failures + 1, lacking
        bits = int.from_bytes(base64.b64decode(asked["bits"]), "little")
        try:
            words = ["import", "-", "-o", "json", "--offer-to", cluster.namespace]
            return await _run(cluster, agent, words, _needed(file, found, bits, progress))
        except BrokenExecutionError:
            if failures >= ATTEMPTS:
                raise


async def adopt(cluster: Cluster, found: ArtifactFile, name: str, answer: Body) -> Body:
    """Creates the checkpoint that asks an agent to adopt what `send` was answered. Raises ConflictError, UsageError."""
    generation = str(answer["artifact"]).rpartition("/")[2]
    wanted = {"generation": generation, "digest": answer["digest"], "move": bool(answer.get("fresh"))}
    annotations = {names.ANNOTATION_ADOPT: json.dumps(wanted)}
    return await cluster.create(CHECKPOINTS, found.saved | {"metadata": {"name": name, "annotations": annotations}})


async def _run(cluster: Cluster, agent: Agent, words: list[str], pieces: AsyncGenerator[bytes | memoryview, None]) -> Body:
    try:
        running = execute(cluster, agent.pod, agent.namespace, agent.container, agent.command(*words))
        async with running as execution, aclosing(pieces):
            text = await converse(execution, pieces)
        answer = json.loads(text)
    except BrokenExecutionError:
        raise
    except (CommandError, ClusterError) as error:
        raise explain(agent, error) from error
    except ValueError:
        raise ChrekError(f"agent {agent.pod} answered with no JSON") from None
    if not isinstance(answer, dict):
        raise ChrekError(f"agent {agent.pod} answered with no object")
    return answer


async def _opening(found: ArtifactFile) -> AsyncGenerator[bytes | memoryview, None]:
    yield MAGIC
    for part in found.opening:
        for piece in part.pieces:
            yield piece


async def _needed(file: BinaryIO, found: ArtifactFile, bits: int, progress: Progress) -> AsyncGenerator[bytes | memoryview, None]:
    """The file without the chunks that are not needed."""
    async with aclosing(_opening(found)) as pieces:
        async for piece in pieces:
            yield piece
    file.seek(found.first)
    number = 0
    while True:
        part = read_part(file)
        if part.kind != CHUNK or bits >> number & 1:
            for piece in part.pieces:
                yield piece
        number += part.kind == CHUNK
        progress(file.tell(), found.size)
        if part.kind == END:
            return
