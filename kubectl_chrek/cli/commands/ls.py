"""`kubectl chrek ls`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# List the checkpoints of the namespace
kubectl chrek ls

# With sizes, nodes and times, of all namespaces
kubectl chrek ls -A -o wide

# Follow what happens
kubectl chrek ls -w

# The phase of one
kubectl chrek ls 5941a4cb3c363457 -o jsonpath='{.status.phase}'
"""

FORMATS: Final = ("json", "yaml", "name", "wide", "jsonpath", "custom-columns")


@options.command("ls", examples=EXAMPLES)
def command(
    *,
    connection: ConnectionOptions,
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="Only these")] = [],  # noqa: B006 - never mutated
    output_format: Annotated[str, formats(FORMATS)] = "",
    selector: Annotated[str, typer.Option("--selector", "-l", help="Label selector", show_default=False)] = "",
    field_selector: Annotated[str, typer.Option("--field-selector", help="Field selector", show_default=False)] = "",
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Leave out the headers")] = False,
    sort_by: Annotated[str, typer.Option("--sort-by", metavar="JSONPATH", help="Order, say .metadata.name")] = "",
    show_labels: Annotated[bool, typer.Option("--show-labels", help="All labels, as the last column")] = False,
    label_columns: Annotated[
        list[str], typer.Option("--label-columns", "-L", metavar="LABEL", help="A label as a column; may be repeated")
    ] = [],  # noqa: B006 - never mutated
    ignore_not_found: Annotated[bool, typer.Option("--ignore-not-found", help="What is not there is no error")] = False,
    chunk_size: Annotated[int, typer.Option("--chunk-size", metavar="N", help="Objects in one answer; 0 is all")] = 500,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Then print each change")] = False,
    watch_only: Annotated[bool, typer.Option("--watch-only", help="Print each change from now on")] = False,
    watch_events: Annotated[bool, typer.Option("--output-watch-events", help="Say what kind of change it is")] = False,
) -> ExitCode:
    """List checkpoints."""
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.listing import Columns, Listing
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.ops.listing import Selection

    watching = watch or watch_only
    if watching and sort_by:
        raise UsageError("--sort-by cannot be used with --watch")
    listing = Listing(
        connection=connection,
        selection=Selection(tuple(names), selector, field_selector),
        form=parse_format(output_format, FORMATS),
        columns=Columns(
            show_headers=not no_headers,
            label_columns=tuple(key for keys in label_columns for key in keys.split(",")),
            show_labels=show_labels,
            events=watch_events,
        ),
        sort_by=sort_by,
        chunk_size=chunk_size,
        ignore_not_found=ignore_not_found,
        changes_only=watch_only,
    )
    return run(connection, listing.follow if watching else listing.show)
