"""`kubectl chrek verify`."""

from typing import Annotated

import typer

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import Output, Selector, Timeout, choice
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

EXAMPLES = """
# Read an artifact back, byte for byte
kubectl chrek verify 5941a4cb3c363457

# All of the namespace
kubectl chrek verify --all --timeout 1h
"""


@options.command("verify", examples=EXAMPLES)
def command(
    *,
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="Names of checkpoints")] = [],  # noqa: B006 - never mutated
    everything: Annotated[bool, typer.Option("--all", help="All that have an artifact")] = False,
    selector: Selector = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answers, showing progress")] = True,
    timeout: Timeout = "30m",
    output_format: Output = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Have agents read artifacts back and compare every digest.

    Exits with 6 when one is corrupt.
    """
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cli.verifying import Verifying
    from kubectl_chrek.ops.listing import Selection

    if sum(map(bool, (names, everything, selector))) != 1:
        raise UsageError("give one of: names, -l SELECTOR, --all")
    verifying = Verifying(
        connection=connection,
        selection=Selection(tuple(dict.fromkeys(names)), selector),
        wait=wait,
        seconds=parse_duration(timeout),
        output_format=choice("--output", output_format, ("", "name", "json", "yaml")),
    )
    return run(connection, verifying.run)
