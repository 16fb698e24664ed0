"""What `prewarm --nodes` and `--node-selector` do once the checkpoints are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kubectl_chrek.api.checkpoint import CachedCopy, Checkpoint
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.node import Operation
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode, ProgressLine
from kubectl_chrek.cli.formats import dry_run_suffix, object_name
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops import clock
from kubectl_chrek.ops.formatting import human_bytes
from kubectl_chrek.ops.staging import Chosen, choose_nodes, progress_text, request, staged, wait_until_staged

SHOWN: Final = 3
"""Nodes whose progress has room in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """Where to; false when nowhere. `seconds` is how long it waits, None: not at all."""

    nodes: tuple[str, ...] = ()
    selector: str = ""
    seconds: float | None = None
    dry_run: str = "none"
    quiet: bool = False
    """stdout is for objects alone."""
    progress: ProgressLine = field(default_factory=ProgressLine)
    told: dict[str, str] = field(default_factory=dict)
    """How far each node is, as it said last."""

    def __bool__(self) -> bool:
        return bool(self.nodes or self.selector)

    def check(self) -> None:
        """Raises UsageError when both are given."""
        if self.nodes and self.selector:
            raise UsageError("give --nodes or --node-selector, not both")

    async def choose(self, cluster: Cluster) -> Chosen:
        """The nodes, as `choose_nodes`; those without a cache are told of."""
        chosen = await choose_nodes(cluster, self.nodes, self.selector, clock.now())
        if chosen.direct:
            diagnostics.note(f"{', '.join(chosen.direct)}: no cache there; restores read the store itself, nothing is staged")
        return chosen

    async def run(self, cluster: Cluster, found: Sequence[Checkpoint], chosen: Chosen, namespace: str) -> ExitCode:
        """Asks for checkpoints of one namespace, waits and tells."""
        asked: dict[str, Checkpoint] = {}
        for checkpoint in found:
            name = checkpoint.metadata.name
            if all(staged(checkpoint, node) for node in chosen.nodes):
                self._say(name, f"already staged on {', '.join(chosen.nodes)}")
                continue
            if self.dry_run != "client":
                await request(cluster, checkpoint, chosen, dry_run=self.dry_run == "server")
            asked[checkpoint.metadata.uid] = checkpoint
            if self.seconds is None or self.dry_run != "none":
                self._say(name, f"staging requested on {', '.join(chosen.nodes)}{dry_run_suffix(self.dry_run)}")
        if not asked or self.seconds is None or self.dry_run != "none":
            return ExitCode.OK
        try:
            answers = await wait_until_staged(cluster, asked, chosen.nodes, namespace, seconds=self.seconds, on_progress=self._show)
        finally:
            self.progress.close()
        return self._tell(asked, answers)

    def pretend(self, name: str, chosen: Chosen) -> None:
        """Says what would be asked of a checkpoint that is not there because this is a dry run."""
        self._say(name, f"staging requested on {', '.join(chosen.nodes)}{dry_run_suffix(self.dry_run)}")

    def _tell(self, asked: Mapping[str, Checkpoint], answers: Mapping[tuple[str, str], CachedCopy]) -> ExitCode:
        code = ExitCode.OK
        for (uid, node), copy in sorted(answers.items(), key=lambda answer: (asked[answer[0][0]].metadata.name, answer[0][1])):
            name = asked[uid].metadata.name
            if copy.message:
                diagnostics.note(output.one_line(f"error: {name} is not staged on {node}: {copy.message}"))
                code = ExitCode.PARTIAL
            else:
                self._say(name, f"staged on {node} ({human_bytes(copy.bytes)})")
        return code

    def _say(self, name: str, text: str) -> None:
        if not self.quiet:
            output.write_lines([f"{object_name(CHECKPOINTS, name)} {text}"])

    def _show(self, name: str, node: str, operation: Operation) -> None:
        """All nodes in one line: off a terminal each new step is a line of its own, and nodes take turns in telling."""
        self.told[node] = f"{node} {name}: {progress_text(operation, clock.now())}"
        more = f"; {len(self.told) - SHOWN} more" if len(self.told) > SHOWN else ""
        self.progress.update("staging:", "; ".join(list(self.told.values())[:SHOWN]) + more)
