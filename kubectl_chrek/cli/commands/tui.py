"""`kubectl chrek tui`."""

from typing import Annotated

import typer

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import diagnostics, options
from kubectl_chrek.cli.extras import import_extra
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Browse the checkpoints of the namespace
kubectl chrek tui

# Look at all namespaces, and change nothing
kubectl chrek tui -A --read-only

# Start with the nodes, or with what could be deleted
kubectl chrek tui -c nodes
kubectl chrek tui -c "gc --unreferenced --keep-within 14d"
"""


@options.command("tui", examples=EXAMPLES)
def command(
    *,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer nothing that changes the cluster")] = False,
    screen: Annotated[
        str, typer.Option("--screen", "-c", metavar="COMMAND", help="Start with this, as after : in the TUI", show_default=False)
    ] = "",
    connection: ConnectionOptions,
) -> int:
    """Browse checkpoints, live."""
    if not diagnostics.on_terminal():
        raise UsageError("the TUI needs a terminal: use `kubectl chrek ls`")
    tui = import_extra("kubectl_chrek.tui.running", "tui")
    code: int = tui.run_tui(connection, read_only=read_only, command=screen)
    return code
