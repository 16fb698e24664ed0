"""`kubectl chrek version`."""

from typing import Annotated, Any, Final

import typer

from kubectl_chrek import __version__
from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.options import choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Print the version of this plugin
kubectl chrek version

# Print those of the cluster, the operator and the agents as well
kubectl chrek version --server
"""

FORMATS: Final = ("json", "yaml")


@options.command("version", examples=EXAMPLES)
def command(
    *,
    connection: ConnectionOptions,
    client: Annotated[bool, typer.Option("--client", help="Only this plugin's version, as without --server")] = False,
    server: Annotated[bool, typer.Option("--server", help="The cluster's, the operator's and the agents' as well")] = False,
    output_format: Annotated[str, formats(FORMATS)] = "",
) -> None:
    """Print the version."""
    choice("--output", output_format, ("", *FORMATS))
    versions: dict[str, Any] = {"clientVersion": {"gitVersion": f"v{__version__}"}}
    lines = [f"Client Version: v{__version__}"]
    skew: list[str] = []
    if server and not client:
        from kubectl_chrek.cli.session import run
        from kubectl_chrek.ops.versions import fetch_versions

        found = run(connection, lambda cluster: fetch_versions(cluster, __version__))
        skew = found.skew
        versions["serverVersion"] = {"gitVersion": found.server}
        versions["operators"] = [{"namespace": where, "version": version} for where, version in found.operators.items()]
        versions["agents"] = [{"version": version, "nodes": list(nodes)} for version, nodes in found.agents.items()]
        lines.append(f"Server Version: {found.server}")
        lines += [f"Operator Version: {_shown(version)} in {where}" for where, version in found.operators.items()]
        lines += [f"Agent Version: {_shown(version)} on {', '.join(nodes)}" for version, nodes in found.agents.items()]
    if output_format:
        output.write_structured(output_format, versions)
    else:
        output.write_lines(lines)
    for line in skew:
        diagnostics.warn(f"{line}, this plugin is {__version__}")


def _shown(version: str) -> str:
    return f"v{version}" if version else "<unknown>"
