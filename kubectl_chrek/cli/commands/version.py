"""`kubectl chrek version`."""

from typing import Annotated

import typer

from kubectl_chrek import __version__
from kubectl_chrek.cli import options, output
from kubectl_chrek.cli.options import Output, choice
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Print the version of this plugin
kubectl chrek version

# Print the cluster's as well
kubectl chrek version --server
"""


@options.command("version", examples=EXAMPLES)
def command(
    *,
    connection: ConnectionOptions,
    client: Annotated[bool, typer.Option("--client", help="Only this plugin's version, as without --server")] = False,
    server: Annotated[bool, typer.Option("--server", help="The API server's version as well")] = False,
    output_format: Output = "",
) -> None:
    """Print the version."""
    choice("--output", output_format, ("", "json", "yaml"))
    versions = {"clientVersion": {"gitVersion": f"v{__version__}"}}
    if server and not client:
        from kubectl_chrek.cli.session import run

        versions["serverVersion"] = {"gitVersion": run(connection, lambda cluster: cluster.version())}
    if output_format:
        output.write_structured(output_format, versions)
        return
    titles = {"clientVersion": "Client Version", "serverVersion": "Server Version"}
    output.write_lines(f"{titles[kind]}: {found['gitVersion']}" for kind, found in versions.items())
