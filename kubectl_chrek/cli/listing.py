"""What `ls` prints: once, or for ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, write_objects
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops import clock
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.listing import Body, Selection, check_names, fetch, headers, row, sort_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One call of `ls`."""

    connection: ConnectionOptions
    selection: Selection
    form: Format
    show_headers: bool
    sort_by: str

    async def show(self, cluster: Cluster) -> ExitCode:
        """Prints what is there."""
        bodies, errors = await fetch(cluster, self.connection, self.selection)
        if self.sort_by:
            bodies = sort_by(bodies, self.sort_by)
        single = len(self.selection.names) == 1
        if self.form.table and bodies:
            output.write_table(self._headers(), self._rows(bodies), show_headers=self.show_headers)
        elif not self.form.table and not (single and errors):
            write_objects(self.form, CHECKPOINTS, bodies, single=single, show_headers=self.show_headers)
        elif not errors:
            where = "" if self.connection.all_namespaces else f" in {cluster.namespace} namespace"
            diagnostics.note(f"No resources found{where}.")
        codes = [diagnostics.report(error) for error in errors]
        return codes[-1] if codes else ExitCode.OK

    async def follow(self, cluster: Cluster) -> ExitCode:
        """Prints what is there, then each change, until interrupted."""
        check_names(self.connection, self.selection)
        first: list[Body] | None = []
        widths: list[int] = []
        scope, selection = self.connection.scope(cluster), self.selection
        async for event in cluster.watch(CHECKPOINTS, scope, labels=selection.labels, fields=selection.fields):
            if event.type == "SYNCED":
                widths = self._write(first or [], widths, show_headers=self.show_headers)
                first = None
            elif selection.names and event.object["metadata"]["name"] not in selection.names:
                continue
            elif first is not None:
                first.append(event.object)
            else:
                widths = self._write([event.object], widths, show_headers=False)
        return ExitCode.OK

    def _write(self, bodies: Sequence[Body], widths: Sequence[int], *, show_headers: bool) -> list[int]:
        """Writes objects as they come; columns that have once been wide stay so."""
        if self.form.table:
            return output.write_table(self._headers(), self._rows(bodies), show_headers=show_headers, widths=widths)
        for body in bodies:
            write_objects(self.form, CHECKPOINTS, [body], single=True, show_headers=False)
        return []

    def _headers(self) -> list[str]:
        return headers(wide=self.form.kind == "wide", namespaces=self.connection.all_namespaces)

    def _rows(self, bodies: Sequence[Any]) -> list[list[str]]:
        now, wide = clock.now(), self.form.kind == "wide"
        return [row(body, now, wide=wide, namespaces=self.connection.all_namespaces) for body in bodies]
