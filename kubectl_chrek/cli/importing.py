"""What `import` does with its flags."""

from dataclasses import dataclass, field
from typing import BinaryIO

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.carrying import Meter
from kubectl_chrek.cli.diagnostics import ExitCode, ProgressLine
from kubectl_chrek.cli.formats import object_name
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.agents import find_agent
from kubectl_chrek.ops.formatting import human_bytes
from kubectl_chrek.ops.importing import ArtifactFile, adopt, check_absent, send
from kubectl_chrek.ops.progress import failure_of, progress_text, step_text, wait_until_settled


@dataclass(frozen=True, slots=True)
class Importing:
    """One call of `import`; `seconds` is how long it waits for Ready, None: not at all."""

    source: BinaryIO
    found: ArtifactFile
    name: str
    node: str
    seconds: float | None
    progress: ProgressLine = field(default_factory=ProgressLine)

    async def run(self, cluster: Cluster) -> ExitCode:
        """Sends, creates, waits."""
        name = self.name or str(self.found.saved["metadata"]["name"])
        await check_absent(cluster, name)
        agent = await find_agent(cluster, node=self.node)
        meter = Meter(f"{name}: importing through the agent on {agent.node}", self.progress)
        try:
            answer = await send(cluster, agent, self.source, self.found, meter.update)
        finally:
            meter.close()
        chunks, stored = int(answer.get("chunks", 0)), int(answer.get("storedBytes", 0))
        new = f"{chunks} of {self.found.head.chunks} chunks were new to the store, {human_bytes(stored)}"
        diagnostics.note(new if chunks else "the store had all chunks")
        await adopt(cluster, self.found, name, answer)
        output.write_lines([f"{object_name(CHECKPOINTS, name)} created"])
        return ExitCode.OK if self.seconds is None else await self._wait(cluster, name, self.seconds)

    async def _wait(self, cluster: Cluster, name: str, seconds: float) -> ExitCode:
        try:
            settled = await wait_until_settled(cluster, {name}, cluster.namespace, seconds=seconds, on_change=self._show)
        finally:
            self.progress.close()
        checkpoint = read_checkpoint(settled[name])
        return diagnostics.report(failure_of(checkpoint)) if checkpoint.phase == names.Phase.FAILED else ExitCode.OK

    def _show(self, checkpoint: Checkpoint) -> None:
        self.progress.update(f"{checkpoint.metadata.name}: {step_text(checkpoint)}", progress_text(checkpoint))
