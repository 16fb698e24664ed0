"""`kubectl chrek events`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import NoHeaders, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# What happened to a checkpoint, its Job and its pods
kubectl chrek events 5941a4cb3c363457

# What happens to all checkpoints, as it happens
kubectl chrek events -A -w
"""

FORMATS: Final = ("json", "yaml", "name", "jsonpath", "custom-columns")


@options.command("events", examples=EXAMPLES)
def command(
    *,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only about this checkpoint", show_default=False)] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Then print each new one")] = False,
    no_headers: NoHeaders = False,
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Show events about checkpoints, with their Jobs and pods."""
    from kubectl_chrek.cli.formats import parse_format, write_objects
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.cluster.resources import EVENTS
    from kubectl_chrek.ops import clock
    from kubectl_chrek.ops.events import fetch, follow, headers, rows

    if name:
        options.one_namespace(connection)
    form = parse_format(output_format, FORMATS)
    titles = headers(namespaces=connection.all_namespaces)

    async def show(cluster: Cluster) -> ExitCode:
        found = await fetch(cluster, connection, name)
        if form.kind:
            write_objects(form, EVENTS, found, single=False, show_headers=not no_headers)
        elif found:
            output.write_table(titles, rows(found, clock.now(), namespaces=connection.all_namespaces), show_headers=not no_headers)
        else:
            where = "" if connection.all_namespaces else f" in {cluster.namespace} namespace"
            diagnostics.note(f"No events found{where}; a cluster forgets them after an hour.")
        return ExitCode.OK

    async def go_on(cluster: Cluster) -> ExitCode:
        widths: list[int] = []
        async for event in follow(cluster, connection, name):
            if form.kind:
                write_objects(form, EVENTS, [event], single=True, show_headers=False)
                continue
            row = rows([event], clock.now(), namespaces=connection.all_namespaces)
            widths = output.write_table(titles, row, show_headers=not (widths or no_headers), widths=widths)
        return ExitCode.OK

    return run(connection, go_on if watch else show)
