"""`kubectl chrek describe`."""

from typing import Annotated

import typer

from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# All that is known of a checkpoint
kubectl chrek describe 5941a4cb3c363457
"""


@options.command("describe", examples=EXAMPLES)
def command(
    *,
    connection: ConnectionOptions,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of checkpoints")],
) -> ExitCode:
    """Show all that is known of checkpoints."""
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops import clock
    from kubectl_chrek.ops.describing import describe, fetch_described

    if connection.all_namespaces:
        raise UsageError("a checkpoint cannot be named across all namespaces", hint="give -n NAMESPACE instead of -A")

    async def show(cluster: Cluster) -> ExitCode:
        code = ExitCode.OK
        for number, name in enumerate(names):
            try:
                lines = describe(await fetch_described(cluster, name), clock.now())
            except NotFoundError as error:
                code = diagnostics.report(error)
            else:
                output.write_lines([*[""] * (number > 0), *map(output.one_line, lines)])
        return code

    return run(connection, show)
