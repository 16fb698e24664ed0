"""`kubectl chrek undelete`."""

from typing import Annotated

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import OBJECTS, DryRun, Names, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Keep a checkpoint that gc has marked, as long as it is there
kubectl chrek undelete 5941a4cb3c363457
"""


@options.command("undelete", examples=EXAMPLES)
def command(
    *,
    names: Names,
    dry_run: DryRun = "none",
    output_format: Annotated[str, formats(OBJECTS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Keep checkpoints that gc has marked for deletion."""
    from kubectl_chrek.cli.changing import Changing
    from kubectl_chrek.ops.gc import undelete

    verbs = ("undeleted", "unchanged (was not marked)")
    return Changing(names=names, change=undelete, verbs=verbs, dry_run=dry_run, output_format=output_format).command(connection)
