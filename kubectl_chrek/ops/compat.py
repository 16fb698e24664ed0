"""`compat`: which nodes can restore which checkpoints and why not, today or after an upgrade; pure but for `fetch`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.api import compatibility
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.compatibility import Check, Compatibility, Verdict
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.node import ChrekNode, read_node
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHREK_NODES
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.listing import Selection, fetch_checkpoints

_FACTS: Final = {
    "architecture": "architecture",
    "kernel": "kernel",
    "criu": "criu",
    "image": "image_digest",
    "driver": "driver",
    "cuda": "cuda",
}
"""What `--what-if` may change, and the fact that it is."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node with the facts that captures depend on. `counted`: checks that only pods can answer, but a what-if has."""

    node: str
    facts: Compatibility
    counted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a checkpoint can be restored on a node."""

    node: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """`unknown` when nothing stands against it but something could not be compared."""
        found = {check.verdict for check in self.checks if not check.waived}
        return next((verdict for verdict in (Verdict.FAIL, Verdict.UNKNOWN) if verdict in found), Verdict.PASS)

    @property
    def reason(self) -> str:
        """Why not, or what is not known; empty when it can."""
        return "; ".join(check.reason for check in self.checks if check.verdict is self.verdict and check.reason)

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        checks = [
            {"name": each.name, "verdict": str(each.verdict), "captured": each.captured, "here": each.here, "reason": each.reason}
            for each in self.checks
        ]
        return {"node": self.node, "verdict": str(self.verdict), "reason": self.reason, "checks": checks}


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint on all nodes."""

    checkpoint: Checkpoint
    answers: tuple[Answer, ...]

    def on(self, verdict: Verdict) -> list[str]:
        """The nodes with this verdict."""
        return [answer.node for answer in self.answers if answer.verdict is verdict]

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        metadata = self.checkpoint.metadata
        answers = [answer.to_dict() for answer in self.answers]
        return {"namespace": metadata.namespace, "name": metadata.name, "uid": metadata.uid, "nodes": answers}


def places(nodes: Iterable[ChrekNode]) -> list[Place]:
    """The nodes whose agents have told what they are, by name."""
    return sorted((Place(node.metadata.name, node.status.platform) for node in nodes), key=lambda place: place.node)


def answer(captured: Compatibility, place: Place) -> Answer:
    """Whether a capture with this record can be restored there."""
    checks = compatibility.evaluate(captured, _offered(captured, place.facts))
    ignored = compatibility.POD_CHECKS - place.counted
    return Answer(place.node, tuple(check for check in checks if check.name not in ignored))


def table(checkpoints: Iterable[Checkpoint], where: Sequence[Place]) -> list[Row]:
    """All checkpoints that have an artifact, on all places."""
    return [
        Row(each, tuple(answer(each.status.artifact.compatibility, place) for place in where))
        for each in checkpoints
        if each.status.artifact
    ]


def nowhere(checkpoints: Iterable[Checkpoint], where: Sequence[Place]) -> dict[str, str]:
    """Why no node can restore a checkpoint, by its UID. Without any node nothing is known, so nothing is said."""
    found = {}
    for row in table(checkpoints, where):
        if where and len(row.on(Verdict.FAIL)) == len(where):
            reasons = {each.reason for each in row.answers}
            found[row.checkpoint.metadata.uid] = min(reasons) if len(reasons) == 1 else "incompatible with every node"
    return found


def parse_changes(texts: Iterable[str]) -> dict[str, str]:
    """`driver=595,kernel=6.12` as the facts that it changes.

    Raises:
        UsageError: A fact is unknown, given twice or without a value.
    """
    changes: dict[str, str] = {}
    for text in ",".join(texts).split(","):
        name, _, value = text.strip().partition("=")
        if name not in _FACTS or not value:
            raise UsageError(f"--what-if: cannot read {text!r}", hint=f"write FACT=VALUE; facts: {', '.join(_FACTS)}")
        if _FACTS[name] in changes:
            raise UsageError(f"--what-if: {name} is given twice")
        changes[_FACTS[name]] = value
    return changes


def what_if(where: Iterable[Place], changes: Mapping[str, str]) -> list[Place]:
    """The same places after an upgrade."""
    counted = frozenset({compatibility.IMAGE}) if "image_digest" in changes else frozenset()
    return [Place(place.node, place.facts.model_copy(update=dict(changes)), counted) for place in where]


async def fetch(cluster: Cluster, options: ConnectionOptions, selection: Selection) -> tuple[list[Checkpoint], list[Place]]:
    """The selected checkpoints, and all nodes."""
    checkpoints, nodes = await asyncio.gather(fetch_checkpoints(cluster, options, selection), fetch_nodes(cluster))
    return checkpoints, places(nodes)


async def fetch_nodes(cluster: Cluster) -> list[ChrekNode]:
    """What the agents have told of their nodes.

    Raises:
        NotFoundError: The kind is not installed.
    """
    return [read_node(body) for body in await cluster.list(CHREK_NODES, "")]


def _offered(captured: Compatibility, facts: Compatibility) -> Compatibility:
    """What a node would give a pod with the capture's needs: as many of its GPUs as that, of the captured kind first."""
    if captured.gpus is None or facts.gpus is None or len(facts.gpus) < len(captured.gpus):
        return facts
    wanted = {(gpu.model, gpu.mig) for gpu in captured.gpus}
    best = sorted(facts.gpus, key=lambda gpu: (gpu.model, gpu.mig) not in wanted)
    return facts.model_copy(update={"gpus": best[: len(captured.gpus)]})
