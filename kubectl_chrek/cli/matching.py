"""What `compat` prints: checkpoints against nodes, today or after an upgrade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubectl_chrek.api.compatibility import Verdict
from kubectl_chrek.api.errors import NotReadyError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.ops.compat import Row, fetch, table, what_if
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import NONE
from kubectl_chrek.ops.listing import Selection

_WORDS = {Verdict.PASS: "yes", Verdict.UNKNOWN: "unknown", Verdict.FAIL: "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """One call of `compat`."""

    connection: ConnectionOptions
    selection: Selection
    changes: Mapping[str, str]
    show_headers: bool
    output_format: str

    async def run(self, cluster: Cluster) -> ExitCode:
        """Reads, compares and prints."""
        checkpoints, places = await fetch(cluster, self.connection, self.selection)
        if not places:
            raise NotReadyError("no agent has told anything of its node yet", hint="see `kubectl chrek doctor`")
        now = table(checkpoints, places)
        then = table(checkpoints, what_if(places, self.changes)) if self.changes else []
        if self.output_format in ("json", "yaml"):
            rows = [row.to_dict() for row in now]
            changed = {"whatIf": [row.to_dict() for row in then]} if then else {}
            output.write_structured(self.output_format, {"checkpoints": rows} | changed)
        elif not now:
            where = "" if self.connection.all_namespaces else f" in {cluster.namespace} namespace"
            diagnostics.note(f"No artifacts found{where}.")
        elif self.changes:
            self._write_changes(now, then)
        else:
            self._write(now)
        lost = [row for row, after in zip(now, then, strict=False) if _open(row) and not _open(after)]
        return ExitCode.ERROR if lost else ExitCode.OK

    def _write(self, rows: Sequence[Row]) -> None:
        """A row for each checkpoint and node; by default nodes that say the same stand in one."""
        cells = []
        for row in rows:
            grouped: dict[tuple[Verdict, str], list[str]] = {}
            for answer in row.answers:
                key = (
                    (answer.verdict, answer.reason)
                    if self.output_format != "wide"
                    else (answer.verdict, answer.node + answer.reason)
                )
                grouped.setdefault(key, []).append(answer.node)
            reasons = {answer.node: answer.reason for answer in row.answers}
            for (verdict, _), nodes in grouped.items():
                cells.append([*self._place(row), ",".join(nodes), _WORDS[verdict], reasons[nodes[0]] or NONE])
        output.write_table([*self._headers(), "NODES", "RESTORES", "REASON"], cells, show_headers=self.show_headers)

    def _write_changes(self, now: Sequence[Row], then: Sequence[Row]) -> None:
        """What each checkpoint could do and will be able to."""
        cells = []
        for before, after in zip(now, then, strict=True):
            why = sorted({answer.reason for answer in after.answers if answer.verdict is Verdict.FAIL})
            counts = [f"{_open(row)}/{len(row.answers)}" for row in (before, after)]
            cells.append([*self._place(before), *counts, "; ".join(why) or NONE])
        output.write_table([*self._headers(), "NOW", "THEN", "REASON"], cells, show_headers=self.show_headers)
        lost = sum(bool(_open(before)) and not _open(after) for before, after in zip(now, then, strict=True))
        diagnostics.note(f"{lost} of {len(now)} checkpoints would have no node left that can restore them.")

    def _headers(self) -> list[str]:
        return ["NAMESPACE"] * self.connection.all_namespaces + ["NAME"]

    def _place(self, row: Row) -> list[str]:
        metadata = row.checkpoint.metadata
        return [metadata.namespace] * self.connection.all_namespaces + [metadata.name]


def _open(row: Row) -> int:
    """How many nodes nothing stands against."""
    return len(row.answers) - len(row.on(Verdict.FAIL))
