"""`kubectl chrek compat`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import NoHeaders, Selector, choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Which nodes can restore which checkpoints, and why not
kubectl chrek compat

# What an upgrade will invalidate, before it happens
kubectl chrek compat -A --what-if driver=595.58.03,kernel=6.12
"""

FORMATS: Final = ("wide", "json", "yaml")


@options.command("compat", examples=EXAMPLES)
def command(
    *,
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="Only these")] = [],  # noqa: B006 - never mutated
    what_if: Annotated[
        list[str], typer.Option("--what-if", metavar="FACT=VALUE,...", help="As if all nodes had this; may be repeated")
    ] = [],  # noqa: B006 - never mutated
    selector: Selector = "",
    no_headers: NoHeaders = False,
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Show which nodes can restore which checkpoints, and why not.

    Exits with 1 when --what-if takes away the last node of a checkpoint.
    """
    from kubectl_chrek.cli.matching import Matching
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.ops.compat import parse_changes
    from kubectl_chrek.ops.listing import Selection

    if names and selector:
        raise UsageError("give names or a selector, not both")
    matching = Matching(
        connection=connection,
        selection=Selection(tuple(names), selector),
        changes=parse_changes(what_if) if what_if else {},
        show_headers=not no_headers,
        output_format=choice("--output", output_format, ("", *FORMATS)),
    )
    return run(connection, matching.run)
