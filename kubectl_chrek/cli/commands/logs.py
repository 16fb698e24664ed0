"""`kubectl chrek logs`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# What the capture's Job, the agents and the workers wrote, in the order of time
kubectl chrek logs 5941a4cb3c363457

# Follow the workers only
kubectl chrek logs 5941a4cb3c363457 -f --only worker
"""


@options.command("logs", examples=EXAMPLES)
def command(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a checkpoint")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, also with pods that come later")] = False,
    only: Annotated[str, typer.Option("--only", metavar="job,agent,worker", help="Only these", show_default=False)] = "",
    tail: Annotated[int, typer.Option("--tail", metavar="N", help="The last lines of each container; 0 is all")] = 0,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Begin with the time")] = False,
    prefix: Annotated[bool, typer.Option("--prefix/--no-prefix", help="Say whose line it is")] = True,
    connection: ConnectionOptions,
) -> ExitCode:
    """Show the logs of a checkpoint's Job, agents and workers as one."""
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops import logs

    options.one_namespace(connection)
    kinds = logs.parse_kinds(only)

    def text(line: logs.Line) -> str:
        return " ".join([line.at] * timestamps + [line.source.prefix] * prefix + [output.one_line(line.text)])

    async def show(cluster: Cluster) -> ExitCode:
        found, problems = await logs.sources(cluster, name, kinds)
        lines, unread = await logs.read(cluster, found, tail=tail)
        output.write_lines(map(text, lines))
        for error in (*problems, *unread):
            diagnostics.report(error)
        if not lines and not (problems or unread):
            diagnostics.note(f"No logs found of {name}: its pods are gone, or have not begun.")
        return ExitCode.PARTIAL if problems or unread else ExitCode.OK

    async def go_on(cluster: Cluster) -> ExitCode:
        async for line in logs.follow(cluster, name, kinds, tail=tail):
            output.write_lines([text(line)])
        return ExitCode.OK

    return run(connection, go_on if follow else show)
