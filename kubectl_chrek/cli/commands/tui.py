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
"""


@options.command("tui", examples=EXAMPLES)
def command(
    *,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer nothing that changes the cluster")] = False,
    connection: ConnectionOptions,
) -> int:
    """Browse checkpoints, live."""
    if not diagnostics.on_terminal():
        raise UsageError("the TUI needs a terminal: use `kubectl chrek ls`")
    app = import_extra("kubectl_chrek.tui.app", "tui")
    code: int = app.run_tui(
        kubeconfig=connection.kubeconfig or None,
        context=connection.context or None,
        namespace=connection.namespace or None,
        all_namespaces=connection.all_namespaces,
        read_only=read_only,
    )
    return code
