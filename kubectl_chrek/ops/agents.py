"""Agents as `export` and `import` use them: pods in which a plain command of theirs can run, and the store that it works on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, ClusterError, NotReadyError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.execution import CommandError
from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.ops.logs import AGENT_LABEL

PROGRAM: Final = "chrek-agent"
_LOG_LINE: Final = re.compile(r"[\d-]+ [\d:,]+ [A-Z]+ (.*)")


@dataclass(frozen=True, slots=True)
class Agent:
    """One running agent; `store` is what its commands take for --store."""

    namespace: str
    pod: str
    container: str
    node: str
    store: str

    def command(self, *words: str) -> list[str]:
        """A plain command on its store."""
        return [PROGRAM, *words, "--store", self.store]

    def holds(self, location: str) -> bool:
        """`status.location` of a checkpoint lies in its store."""
        base = self.store.partition("?")[0].rstrip("/")
        return location == base or location.startswith(f"{base}/")


async def find_agent(cluster: Cluster, *, node: str = "", prefer: str = "", location: str = "") -> Agent:
    """An agent to work with.

    Args:
        cluster: The connection.
        node: It must be this node's.
        prefer: It is this node's, if that has one.
        location: Its store must hold this; empty for any.

    Raises:
        NotReadyError: There is none.
    """
    agents = [agent for pod in await agent_pods(cluster) if (agent := read_agent(pod))]
    fitting = [agent for agent in agents if (not node or agent.node == node) and (not location or agent.holds(location))]
    if not fitting:
        where = f" on node {node}" if node else ""
        what = f" whose store holds {location}" if location else ""
        raise NotReadyError(f"no agent is running{where}{what}", hint="see `kubectl chrek doctor`")
    return min(fitting, key=lambda agent: (agent.node != prefer, agent.node))


async def agent_pods(cluster: Cluster) -> list[dict[str, Any]]:
    """Of all namespaces or, for one who may not look there, of his own."""
    try:
        return await cluster.list(PODS, "", labels=AGENT_LABEL)
    except ClusterError as error:
        if error.status != 403:
            raise
    return await cluster.list(PODS, labels=AGENT_LABEL)


def read_agent(pod: Mapping[str, Any]) -> Agent | None:
    """The agent in a pod, if it is running and ready."""
    spec, status, metadata = pod.get("spec") or {}, pod.get("status") or {}, pod["metadata"]
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])
    if not ready or metadata.get("deletionTimestamp") or not spec.get("containers"):
        return None
    container = spec["containers"][0]
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    store = _option(words, "--storage") or _option(words, "--base-path") or names.BASE_PATH
    return Agent(metadata["namespace"], metadata["name"], container["name"], str(spec.get("nodeName") or ""), store)


def _option(words: Sequence[str], name: str) -> str:
    """The value of an option, as `--name value` or `--name=value`; the last one counts."""
    found = ""
    for word, following in pairwise([*words, ""]):
        if word == name:
            found = following
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def explain(agent: Agent, error: CommandError | ClusterError) -> ChrekError:
    """What went wrong in the agent, or on the way into it, as an error that says what to do."""
    if isinstance(error, ClusterError):
        if error.status != 403:
            return error
        message = f"you may not run a command in the agent: pods/exec in namespace {agent.namespace} is forbidden"
        hint = "the chart's exporter.enabled=true makes the role chrek-exporter, to be bound to you"
        return ClusterError(message, status=403, hint=hint)
    said = str(error)
    match = _LOG_LINE.fullmatch(said)
    return ChrekError(f"agent {agent.pod} on {agent.node or 'its node'}: {match[1] if match else said}")
