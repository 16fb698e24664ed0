"""`kubectl chrek doctor`."""

from typing import Annotated, Final

import typer

from kubectl_chrek import __version__
from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import NoHeaders, choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# What is wrong, and the commands that mend it
kubectl chrek doctor -A

# What the agent of one node found out
kubectl chrek doctor --node gpu-7
"""

FORMATS: Final = ("json", "yaml")


@options.command("doctor", examples=EXAMPLES)
def command(
    *,
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Only this node", show_default=False)] = "",
    no_headers: NoHeaders = False,
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Look for what is wrong, and for what mends it.

    It walks from the API server to the last cold start. Exits with 1 when something cannot work; a warning alone is no failure.
    """
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops import clock
    from kubectl_chrek.ops.doctor import examine
    from kubectl_chrek.ops.findings import counts, worst
    from kubectl_chrek.ops.formatting import plural

    choice("--output", output_format, ("", *FORMATS))

    async def show(cluster: Cluster) -> ExitCode:
        findings = await examine(cluster, connection, clock.now(), version=__version__, node=node)
        found = counts(findings)
        if output_format:
            output.write_structured(output_format, {"findings": [each.to_dict() for each in findings], "counts": found})
        else:
            rows = []
            for each in findings:
                rows.append([each.verdict, each.name, each.message])
                rows += [["", "", f"-> {each.fix}"]] if each.fix else []
            output.write_table(["STATUS", "CHECK", "MESSAGE"], rows, show_headers=not no_headers)
        diagnostics.note(f"{found['ok']} ok, {plural(found['warn'], 'warning')}, {found['fail']} failed.")
        return ExitCode.ERROR if worst(findings) == "fail" else ExitCode.OK

    return run(connection, show)
