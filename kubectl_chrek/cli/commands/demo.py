"""`kubectl chrek demo`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.extras import import_extra

EXAMPLES = """
# Start a worker cold, capture it, and start another from the capture
sudo kubectl chrek demo

# Leave the cluster running afterwards, with all its files in one place
sudo kubectl chrek demo --keep --state /tmp/chrek-demo
"""


@options.command("demo", examples=EXAMPLES)
def command(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running")] = False,
    no_tui: Annotated[bool, typer.Option("--no-tui", help="Do not end in the TUI")] = False,
    state: Annotated[
        str, typer.Option("--state", metavar="DIR", help="Where the cluster keeps its files", show_default=False)
    ] = "",
) -> int:
    """Capture and restore a worker on this machine.

    No cluster is needed: only Linux, root and CRIU.
    """
    demo = import_extra("kubectl_chrek.local.demo", "local")
    code: int = demo.run_demo(demo.DemoOptions(keep=keep, tui=not no_tui, state=state))
    return code
