"""`kubectl chrek unpin`."""

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import DryRun, Names, Output, dry_run_strategy
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Let gc collect it again
kubectl chrek unpin 5941a4cb3c363457
"""


@options.command("unpin", examples=EXAMPLES)
def command(*, names: Names, dry_run: DryRun = "none", output_format: Output = "", connection: ConnectionOptions) -> ExitCode:
    """Let checkpoints be collected again."""
    from kubectl_chrek.cli.changing import Changing
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops.pinning import unpin

    options.one_namespace(connection)

    async def change(cluster: Cluster, name: str, check: bool) -> bool:
        return await unpin(cluster, name, dry_run=check)

    changing = Changing(
        names=names,
        change=change,
        verbs=("unpinned", "unchanged"),
        dry_run=dry_run_strategy(dry_run),
        form=parse_format(output_format, ("name",)),
    )
    return run(connection, changing.run)
