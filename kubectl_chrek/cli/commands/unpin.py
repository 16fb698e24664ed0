"""`kubectl chrek unpin`."""

from typing import Annotated

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import OBJECTS, DryRun, Names, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Let gc collect it again
kubectl chrek unpin 5941a4cb3c363457
"""


@options.command("unpin", examples=EXAMPLES)
def command(
    *,
    names: Names,
    dry_run: DryRun = "none",
    output_format: Annotated[str, formats(OBJECTS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Let checkpoints be collected again."""
    from kubectl_chrek.cli.changing import Changing
    from kubectl_chrek.ops.pinning import unpin

    verbs = ("unpinned", "unchanged")
    return Changing(names=names, change=unpin, verbs=verbs, dry_run=dry_run, output_format=output_format).command(connection)
