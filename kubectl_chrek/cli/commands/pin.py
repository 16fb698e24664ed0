"""`kubectl chrek pin`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import OBJECTS, DryRun, Names, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Never collect this one, and say why
kubectl chrek pin 5941a4cb3c363457 --note "demo on Friday"

# Pin for a team
kubectl chrek pin 5941a4cb3c363457 --by inference-team
"""


@options.command("pin", examples=EXAMPLES)
def command(
    *,
    names: Names,
    by: Annotated[str, typer.Option("--by", metavar="OWNER", help="Who wants it; default you", show_default=False)] = "",
    note: Annotated[str, typer.Option("--note", help="Why", show_default=False)] = "",
    dry_run: DryRun = "none",
    output_format: Annotated[str, formats(OBJECTS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Keep checkpoints from being collected by gc or a policy."""
    from functools import partial

    from kubectl_chrek.cli.changing import Changing
    from kubectl_chrek.ops import clock
    from kubectl_chrek.ops.pinning import pin, whoami

    change = partial(pin, by=by or whoami(), note=note, now=clock.now())
    verbs = ("pinned", "unchanged")
    return Changing(names=names, change=change, verbs=verbs, dry_run=dry_run, output_format=output_format).command(connection)
