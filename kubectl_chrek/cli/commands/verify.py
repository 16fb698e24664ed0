"""`kubectl chrek verify`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import Selector, Timeout, choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

EXAMPLES = """
# Read an artifact back, byte for byte
kubectl chrek verify 5941a4cb3c363457

# Mend what is damaged, from the nodes' caches and the other stores that agents may read
kubectl chrek verify 5941a4cb3c363457 --repair

# All of the namespace
kubectl chrek verify --all --timeout 1h

# And see that somebody whom the agents trust has signed it
kubectl chrek verify 5941a4cb3c363457 --require-signature
"""

FORMATS: Final = ("name", "json", "yaml")


@options.command("verify", examples=EXAMPLES)
def command(
    *,
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="Names of checkpoints")] = [],  # noqa: B006 - never mutated
    everything: Annotated[bool, typer.Option("--all", help="All that have an artifact")] = False,
    selector: Selector = "",
    require_signature: Annotated[
        bool, typer.Option("--require-signature", help="Fail for what nobody whom the agents trust has signed")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch what is damaged again, from caches and other stores")] = False,
    source: Annotated[
        list[str], typer.Option("--from", metavar="STORE", help="With --repair, only from this store; may be repeated")
    ] = [],  # noqa: B006 - never mutated
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answers, showing progress")] = True,
    timeout: Timeout = "30m",
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Have agents read artifacts back and compare every digest.

    Exits with 6 when one is corrupt, or not signed and has to be. With --repair what is damaged is stored anew, if anybody has it
    whole: nodes that have it in their caches, or other stores that the agents were told of by --repair-from.
    """
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cli.verifying import Verifying
    from kubectl_chrek.ops.listing import Selection

    if sum(map(bool, (names, everything, selector))) != 1:
        raise UsageError("give one of: names, -l SELECTOR, --all")
    if source and not repair:
        raise UsageError("--from needs --repair")
    if require_signature and not wait:
        raise UsageError("--require-signature needs the answers, which --no-wait does not wait for")
    verifying = Verifying(
        connection=connection,
        selection=Selection(tuple(dict.fromkeys(names)), selector),
        require_signature=require_signature,
        wait=wait,
        seconds=parse_duration(timeout),
        output_format=choice("--output", output_format, ("", *FORMATS)),
        repair=repair,
        sources=tuple(source),
    )
    return run(connection, verifying.run)
