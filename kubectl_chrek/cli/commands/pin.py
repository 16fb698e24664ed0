"""`kubectl chrek pin`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import DryRun, Names, dry_run_strategy, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Never collect this one, and say why
kubectl chrek pin 5941a4cb3c363457 --note "demo on Friday"

# Pin for a team
kubectl chrek pin 5941a4cb3c363457 --by inference-team
"""

FORMATS: Final = ("name", "json", "yaml")


@options.command("pin", examples=EXAMPLES)
def command(
    *,
    names: Names,
    by: Annotated[str, typer.Option("--by", metavar="OWNER", help="Who wants it; default you", show_default=False)] = "",
    note: Annotated[str, typer.Option("--note", help="Why", show_default=False)] = "",
    dry_run: DryRun = "none",
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Keep checkpoints from being collected by gc or a policy."""
    from kubectl_chrek.cli.changing import Changing
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops import clock
    from kubectl_chrek.ops.marking import Marked
    from kubectl_chrek.ops.pinning import pin, whoami

    options.one_namespace(connection)
    owner = by or whoami()

    async def change(cluster: Cluster, name: str, dry_run: str) -> Marked:
        return await pin(cluster, name, by=owner, note=note, now=clock.now(), dry_run=dry_run)

    changing = Changing(
        names=names,
        change=change,
        verbs=("pinned", "unchanged"),
        dry_run=dry_run_strategy(dry_run),
        form=parse_format(output_format, FORMATS),
    )
    return run(connection, changing.run)
