"""Small changes to named checkpoints, one after the other: what `pin`, `unpin` and `undelete` share."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, dry_run_suffix, object_name, write_objects
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.marking import Marked

Change = Callable[[Cluster, str, str], Awaitable[Marked]]
"""Changes the checkpoint of a name, or only finds out what that would do: the last argument is that of --dry-run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """One call of such a command. `verbs` say what was done, and what if there was nothing to do."""

    names: Sequence[str]
    change: Change
    verbs: tuple[str, str]
    dry_run: str
    form: Format

    async def run(self, cluster: Cluster) -> ExitCode:
        """Does it; one that fails does not stop the next."""
        code = ExitCode.OK
        found = []
        for name in self.names:
            try:
                marked = await self.change(cluster, name, self.dry_run)
            except ChrekError as error:
                code = diagnostics.report(error)
            else:
                found.append(marked.body)
                self._write(name, changed=marked.changed)
        if found and self.form.kind in ("json", "yaml"):
            write_objects(self.form, CHECKPOINTS, found, single=len(self.names) == 1)
        return code

    def _write(self, name: str, *, changed: bool) -> None:
        shown = object_name(CHECKPOINTS, name)
        if self.form.kind == "name":
            output.write_lines([shown])
        elif not self.form.kind:
            output.write_lines([f"{shown} {self.verbs[not changed]}{dry_run_suffix(self.dry_run)}"])
