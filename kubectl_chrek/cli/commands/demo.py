"""`kubectl chrek demo`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.extras import import_extra
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Start a worker cold, capture it, and start another from the capture
sudo kubectl chrek demo

# The same with artifacts in a bucket of S3, or a registry, served on this machine
sudo kubectl chrek demo --storage s3

# Leave the cluster running afterwards, with all its files in one place
sudo kubectl chrek demo --keep --state /tmp/chrek-demo
"""


@options.command("demo", examples=EXAMPLES)
def command(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running")] = False,
    no_tui: Annotated[bool, typer.Option("--no-tui", help="Do not end in the TUI")] = False,
    storage: Annotated[str, typer.Option("--storage", help="Where artifacts are kept: directory, s3 or oci")] = "directory",
    state: Annotated[
        str, typer.Option("--state", metavar="DIR", help="Where the cluster keeps its files", show_default=False)
    ] = "",
) -> int:
    """Capture and restore a worker on this machine.

    No cluster is needed: only Linux, root and CRIU. On a terminal it ends in the TUI on the cluster that it made.
    """
    demo = import_extra("kubectl_chrek.local.demo", "local")
    with demo.run_demo(demo.DemoOptions(keep, state, storage), lambda line: output.write(f"{line}\n")) as kubeconfig:
        if diagnostics.on_terminal() and not no_tui:
            tui = import_extra("kubectl_chrek.tui.running", "local")
            code: int = tui.run_tui(ConnectionOptions(kubeconfig=str(kubeconfig)), read_only=False)
            return code
    return 0
