"""Small changes to named checkpoints, one after the other: what `pin`, `unpin` and `undelete` share."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, dry_run_suffix, object_name, parse_format, write_objects
from kubectl_chrek.cli.options import OBJECTS, dry_run_strategy, one_namespace
from kubectl_chrek.cli.session import run
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.marking import Marked


class Change(Protocol):
    """Changes the checkpoint of a name, or only finds out what that would do: `dry_run` is that of --dry-run."""

    def __call__(self, cluster: Cluster, name: str, *, dry_run: str) -> Awaitable[Marked]:
        """What became of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """One call of such a command. `verbs` say what was done, and what if there was nothing to do."""

    names: Sequence[str]
    change: Change
    verbs: tuple[str, str]
    dry_run: str
    output_format: str

    def command(self, connection: ConnectionOptions) -> ExitCode:
        """All that is left to do once the words are read. Raises UsageError."""
        one_namespace(connection)
        form, dry_run = parse_format(self.output_format, OBJECTS), dry_run_strategy(self.dry_run)
        return run(connection, lambda cluster: self._run(cluster, form, dry_run))

    async def _run(self, cluster: Cluster, form: Format, dry_run: str) -> ExitCode:
        """Does it; one that fails does not stop the next."""
        code = ExitCode.OK
        found = []
        for name in self.names:
            try:
                marked = await self.change(cluster, name, dry_run=dry_run)
            except ChrekError as error:
                code = diagnostics.report(error)
                continue
            found.append(marked.body)
            shown = object_name(CHECKPOINTS, name)
            if form.kind == "name":
                output.write_lines([shown])
            elif not form.kind:
                output.write_lines([f"{shown} {self.verbs[not marked.changed]}{dry_run_suffix(dry_run)}"])
        if found and form.kind in ("json", "yaml"):
            write_objects(form, CHECKPOINTS, found, single=len(self.names) == 1)
        return code
