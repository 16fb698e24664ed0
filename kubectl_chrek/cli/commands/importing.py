"""`kubectl chrek import`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import Timeout
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

EXAMPLES = """
# What `export` wrote, into this cluster's store; only what the store lacks is sent
kubectl chrek import llama.chrek

# Under another name, without waiting for the agent that verifies it
kubectl chrek import llama.chrek --name llama --wait=false
"""


@options.command("import", examples=EXAMPLES)
def command(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote")],
    name: Annotated[str, typer.Option("--name", help="Name of the checkpoint; default the file's", show_default=False)] = "",
    node: Annotated[str, typer.Option("--node", help="Through the agent of this node", show_default=False)] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is Ready")] = True,
    timeout: Timeout = "30m",
    connection: ConnectionOptions,
) -> ExitCode:
    """Create a checkpoint from a file, its artifact included."""
    from pathlib import Path

    from kubectl_chrek.api.errors import ChrekError
    from kubectl_chrek.cli.importing import Importing
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.ops.importing import read_file

    options.one_namespace(connection)
    seconds = parse_duration(timeout) if wait else None
    try:
        with Path(file).open("rb") as source:
            importing = Importing(source, read_file(source), name, node, seconds)
            return run(connection, importing.run)
    except OSError as error:
        raise ChrekError(f"{file}: {error.strerror or error}") from error
