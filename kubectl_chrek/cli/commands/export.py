"""`kubectl chrek export`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import diagnostics, options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# One file, for a cluster that cannot reach this one
kubectl chrek export 5941a4cb3c363457 llama.chrek

# Again, after the connection was lost: it goes on where it was
kubectl chrek export 5941a4cb3c363457 llama.chrek
"""


@options.command("export", examples=EXAMPLES)
def command(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a checkpoint")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to; FILE.partial until it is whole")],
    node: Annotated[str, typer.Option("--node", help="Through the agent of this node", show_default=False)] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Do not compress")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists")] = False,
    connection: ConnectionOptions,
) -> ExitCode:
    """Write a checkpoint and its artifact to one file."""
    from pathlib import Path

    from kubectl_chrek.api.checkpoint import read_checkpoint
    from kubectl_chrek.api.errors import ConflictError
    from kubectl_chrek.cli.carrying import Meter
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.cluster.resources import CHECKPOINTS
    from kubectl_chrek.ops import exporting
    from kubectl_chrek.ops.formatting import human_bytes

    options.one_namespace(connection)
    path = Path(file)
    if path.exists() and not force:
        raise ConflictError(f"{file} exists", hint="remove it, or give --force")

    async def export(cluster: Cluster) -> ExitCode:
        checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, name))
        meter = Meter(f"{name}: exporting")
        try:
            size = await exporting.export(cluster, checkpoint, path, node=node, raw=raw, progress=meter.update)
        finally:
            meter.close()
        diagnostics.note(f"{name} exported to {file}: {human_bytes(size)}")
        return ExitCode.OK

    return run(connection, export)
