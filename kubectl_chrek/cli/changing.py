"""Small changes to named checkpoints, one after the other: what `pin`, `unpin` and `undelete` share."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.formats import Format, dry_run_suffix, object_name
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS

Change = Callable[[Cluster, str, bool], Awaitable[bool]]
"""Changes the checkpoint of a name, or lets the server only check it; returns whether there was anything to change."""


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
        for name in self.names:
            try:
                if self.dry_run == "client":
                    await cluster.get(CHECKPOINTS, name)
                    changed = True
                else:
                    changed = await self.change(cluster, name, self.dry_run == "server")
            except ChrekError as error:
                code = diagnostics.report(error)
            else:
                self._write(name, changed=changed)
        return code

    def _write(self, name: str, *, changed: bool) -> None:
        shown = object_name(CHECKPOINTS, name)
        verb = "" if self.form.kind == "name" else f" {self.verbs[not changed]}{dry_run_suffix(self.dry_run)}"
        output.write_lines([shown + verb])
