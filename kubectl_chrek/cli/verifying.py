"""What `verify` does with its flags."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from kubectl_chrek.api.checkpoint import Checkpoint, Verification
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode, ProgressLine
from kubectl_chrek.cli.formats import object_name
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops import clock
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.listing import Selection, fetch_checkpoints
from kubectl_chrek.ops.verifying import (
    fetch_live_nodes,
    is_good,
    outcome,
    progress_text,
    repair_wish,
    request,
    wait_until_verified,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifying:
    """One call of `verify`."""

    connection: ConnectionOptions
    selection: Selection
    require_signature: bool = False
    wait: bool
    seconds: float
    output_format: str
    repair: bool = False
    sources: tuple[str, ...] = ()
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    progress: ProgressLine = field(default_factory=ProgressLine)

    async def run(self, cluster: Cluster) -> ExitCode:
        """Asks, waits and tells."""
        found = await fetch_checkpoints(cluster, self.connection, self.selection)
        if not self.selection.names:
            found = [checkpoint for checkpoint in found if checkpoint.status.artifact]
        asked, code = await self._ask(cluster, found)
        if not asked or not self.wait:
            self._say_asked(asked, cluster)
            return code
        try:
            answers = await wait_until_verified(
                cluster,
                asked,
                self.connection.scope(cluster),
                nonce=self.nonce,
                seconds=self.seconds,
                on_change=self._show,
            )
        finally:
            self.progress.close()
        self._write(asked, answers)
        good = all(is_good(answer, signed=self.require_signature) for answer in answers.values())
        return code if good else ExitCode.PARTIAL

    async def _ask(self, cluster: Cluster, found: list[Checkpoint]) -> tuple[dict[str, str], ExitCode]:
        """Names by UID of those that were asked for, and what to exit with."""
        asked: dict[str, str] = {}
        code = ExitCode.OK
        live = await fetch_live_nodes(cluster, clock.now()) if self.repair and found else []
        for checkpoint in found:
            wish = repair_wish(checkpoint, self.nonce, live, self.sources) if self.repair else None
            try:
                await request(cluster, checkpoint, self.nonce, wish)
            except ChrekError as error:
                code = diagnostics.report(error)
            else:
                asked[checkpoint.metadata.uid] = checkpoint.metadata.name
        return asked, code

    def _say_asked(self, asked: Mapping[str, str], cluster: Cluster) -> None:
        what = "repair" if self.repair else "verification"
        suffix = "" if self.output_format == "name" else f" {what} requested"
        output.write_lines(f"{object_name(CHECKPOINTS, name)}{suffix}" for name in asked.values())
        if not asked and not self.selection.names:
            where = "" if self.connection.all_namespaces else f" in {cluster.namespace} namespace"
            diagnostics.note(f"No artifacts found{where}.")

    def _show(self, checkpoint: Checkpoint) -> None:
        text = progress_text(checkpoint, self.nonce)
        if text:
            self.progress.update(f"{checkpoint.metadata.name}: verifying", text)

    def _write(self, asked: Mapping[str, str], answers: Mapping[str, Verification]) -> None:
        named, signed = [(name, answers[uid]) for uid, name in asked.items()], self.require_signature
        if self.output_format in ("json", "yaml"):
            values = [{"name": name} | answer.model_dump(mode="json", by_alias=True, exclude_none=True) for name, answer in named]
            output.write_structured(self.output_format, values)
        elif self.output_format == "name":
            output.write_lines(object_name(CHECKPOINTS, name) for name, answer in named if is_good(answer, signed=signed))
        else:
            lines = (outcome(object_name(CHECKPOINTS, name), answer, signed=signed) for name, answer in named)
            output.write_lines(output.one_line(line) for line in lines)
