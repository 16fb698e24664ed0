"""What `ls` prints: once, or for ever."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, write_objects
from kubectl_chrek.cli.paging import Table, sink
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops import clock
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.listing import Body, Selection, check_names, fetch, place, sort_by
from kubectl_chrek.ops.rows import headers, label_cells, label_headers, read_page, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a table shows beside its own columns."""

    show_headers: bool = True
    label_columns: tuple[str, ...] = ()
    show_labels: bool = False
    events: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One call of `ls`."""

    connection: ConnectionOptions
    selection: Selection
    form: Format
    columns: Columns
    sort_by: str
    chunk_size: int
    ignore_not_found: bool
    changes_only: bool

    async def show(self, cluster: Cluster) -> ExitCode:
        """Prints what is there."""
        if not (self.selection.names or self.sort_by or self.form.kind == "jsonpath"):
            return await self._show_pages(cluster)
        bodies, errors = await fetch(cluster, self.connection, self.selection)
        errors = [] if self.ignore_not_found else errors
        if self.sort_by:
            bodies = sort_by(bodies, self.sort_by)
        single = len(self.selection.names) == 1
        if self.form.table and bodies:
            output.write_table(self._headers(), self._rows(bodies), show_headers=self.columns.show_headers)
        elif not self.form.table and not (single and not bodies):
            write_objects(self.form, CHECKPOINTS, bodies, single=single, show_headers=self.columns.show_headers)
        elif not (errors or self.ignore_not_found):
            self._say_nothing(cluster)
        codes = [diagnostics.report(error) for error in errors]
        return codes[-1] if codes else ExitCode.OK

    async def follow(self, cluster: Cluster) -> ExitCode:
        """Prints what is there, then each change, until interrupted."""
        check_names(self.connection, self.selection)
        first: list[tuple[str, Body]] | None = []
        widths: list[int] = []
        scope, selection = self.connection.scope(cluster), self.selection
        async for event in cluster.watch(CHECKPOINTS, scope, labels=selection.labels, fields=selection.fields):
            if event.type == "SYNCED":
                shown = [] if self.changes_only else first or []
                widths = self._write(shown, widths, show_headers=self.columns.show_headers)
                first = None
            elif selection.names and event.object["metadata"]["name"] not in selection.names:
                continue
            elif first is not None:
                first.append((event.type, event.object))
            else:
                widths = self._write([(event.type, event.object)], widths, show_headers=False)
        return ExitCode.OK

    async def _show_pages(self, cluster: Cluster) -> ExitCode:
        """Prints answers as they come, which is in the order of namespaces and names: the objects are not kept."""
        selection, scope, show = self.selection, self.connection.scope(cluster), self.columns.show_headers
        into = sink(self.form, lambda: Table(self._headers(), self._rows, show_headers=show), show_headers=show)
        chosen = {"labels": selection.labels, "fields": selection.fields}
        read = read_page if self.form.table else json.loads
        async with aclosing(cluster.pages(CHECKPOINTS, scope, **chosen, size=self.chunk_size, read=read)) as pages:
            async for bodies in pages:
                into.add(sorted(bodies, key=place))
        if not (into.end() or self.ignore_not_found):
            self._say_nothing(cluster)
        return ExitCode.OK

    def _say_nothing(self, cluster: Cluster) -> None:
        where = "" if self.connection.all_namespaces else f" in {cluster.namespace} namespace"
        diagnostics.note(f"No resources found{where}.")

    def _write(self, events: Sequence[tuple[str, Body]], widths: Sequence[int], *, show_headers: bool) -> list[int]:
        """Writes objects as they come; columns that have once been wide stay so."""
        if self.form.table:
            kinds = [[kind] * self.columns.events for kind, _ in events]
            rows = [kind + cells for kind, cells in zip(kinds, self._rows([body for _, body in events]), strict=True)]
            titles = ["EVENT"] * self.columns.events + self._headers()
            return output.write_table(titles, rows, show_headers=show_headers, widths=widths)
        for kind, body in events:
            shown = {"type": kind, "object": body} if self.columns.events and self.form.kind in ("json", "yaml") else body
            write_objects(self.form, CHECKPOINTS, [shown], single=True, show_headers=False)
        return []

    def _headers(self) -> list[str]:
        own = headers(wide=self.form.kind == "wide", namespaces=self.connection.all_namespaces)
        return own + label_headers(self.columns.label_columns, everything=self.columns.show_labels)

    def _rows(self, bodies: Sequence[Any]) -> list[list[str]]:
        now, wide, columns = clock.now(), self.form.kind == "wide", self.columns
        return [
            row(body, now, wide=wide, namespaces=self.connection.all_namespaces)
            + label_cells(body, columns.label_columns, everything=columns.show_labels)
            for body in bodies
        ]
