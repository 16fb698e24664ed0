"""`copy`: a checkpoint's artifact from its store to another, by an agent of its cluster, and a checkpoint to adopt the copy."""

import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import ChrekError, ClusterError, NotReadyError, UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.execution import BrokenExecutionError, CommandError, execute
from kubectl_chrek.ops.agents import Agent, explain, find_agent
from kubectl_chrek.ops.exporting import saved_object

ATTEMPTS: Final = 5
"""Connections that may break without one chunk more."""

Body = dict[str, Any]
Progress = Callable[[int, int], None]
"""Told the chunks that have been copied, and those that the other store lacked."""


async def copy(cluster: Cluster, checkpoint: Checkpoint, store: str, *, namespace: str, node: str = "", progress: Progress) -> Body:
    """Copies the artifact; returns what the agent says of the copy: artifact, digest, chunks, storedBytes, ...

    What is there already is not copied again, neither of an earlier attempt nor of other artifacts.

    Args:
        cluster: The connection.
        checkpoint: Whose artifact.
        store: Where to: `s3://...`, `oci://...` or a directory that the agent sees.
        namespace: Whose checkpoints may adopt the copy.
        node: By this node's agent; empty for any.
        progress: Told how far it is.

    Raises:
        UsageError: The store is no location.
        NotReadyError: There is no artifact, or no agent can reach its store.
        ChrekError: The agent, one of the stores or the connection refused.
    """
    artifact = checkpoint.status.artifact
    if "://" not in store and not store.startswith("/"):
        raise UsageError(f"{store!r} is no store", hint="write s3://bucket/prefix, oci://host/repository, or /a/directory")
    if artifact is None:
        raise NotReadyError(f"checkpoint {checkpoint.metadata.name} is {checkpoint.phase}: there is no artifact to copy")
    agent = await find_agent(cluster, node=node, prefer=artifact.node, location=checkpoint.status.location)
    named = f"{checkpoint.hash}/{artifact.generation}"
    command = agent.command("copy", named, store, "--offer-to", namespace, "--progress", "-o", "json")
    failures, least = 0, 0
    while True:
        attempt = _Attempt(progress)
        try:
            return await attempt.run(cluster, agent, command)
        except BrokenExecutionError:
            failures = 0 if attempt.done or (attempt.missing and attempt.missing < least) else failures + 1
            least = attempt.missing or least
            if failures >= ATTEMPTS:
                raise
        except (CommandError, ClusterError) as error:
            raise explain(agent, error) from error


def adopting(checkpoint: Checkpoint, answer: Body, namespace: str) -> Body:
    """The checkpoint that, created in a cluster whose agents have the other store, adopts the copy there. Pure."""
    saved = saved_object(checkpoint)
    generation = str(answer["artifact"]).rpartition("/")[2]
    wanted = {"generation": generation, "digest": answer["digest"], "move": bool(answer.get("fresh"))}
    metadata = saved["metadata"] | {"namespace": namespace, "annotations": {names.ANNOTATION_ADOPT: json.dumps(wanted)}}
    return saved | {"metadata": metadata}


class _Attempt:
    """One run of the agent's command, which tells its progress line by line and then the result."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rest = b""
        self.done = self.missing = 0

    async def run(self, cluster: Cluster, agent: Agent, command: list[str]) -> Body:
        async with (
            execute(cluster, agent.pod, agent.namespace, agent.container, command) as execution,
            aclosing(execution.read()) as pieces,
        ):
            async for piece in pieces:
                self._rest += piece
                self._look()
        try:
            answer = json.loads(self._rest)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ChrekError(f"agent {agent.pod} answered with no object")
        return answer

    def _look(self) -> None:
        """Takes whole lines of progress from what came."""
        while self._rest.startswith(b'{"done"') and b"\n" in self._rest:
            line, _, self._rest = self._rest.partition(b"\n")
            told = json.loads(line)
            self.done, self.missing = int(told["done"]), int(told["missing"])
            self._progress(self.done, self.missing)
