"""`kubectl chrek unpin`."""

from typing import Annotated, Final

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import DryRun, Names, dry_run_strategy, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Let gc collect it again
kubectl chrek unpin 5941a4cb3c363457
"""

FORMATS: Final = ("name", "json", "yaml")


@options.command("unpin", examples=EXAMPLES)
def command(
    *,
    names: Names,
    dry_run: DryRun = "none",
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Let checkpoints be collected again."""
    from kubectl_chrek.cli.changing import Changing
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops.marking import Marked
    from kubectl_chrek.ops.pinning import unpin

    options.one_namespace(connection)

    async def change(cluster: Cluster, name: str, dry_run: str) -> Marked:
        return await unpin(cluster, name, dry_run=dry_run)

    changing = Changing(
        names=names,
        change=change,
        verbs=("unpinned", "unchanged"),
        dry_run=dry_run_strategy(dry_run),
        form=parse_format(output_format, FORMATS),
    )
    return run(connection, changing.run)
