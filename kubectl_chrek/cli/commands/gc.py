"""`kubectl chrek gc`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import DryRun, Output, Timeout, dry_run_strategy
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

EXAMPLES = """
# Show what has not been used for two weeks, and ask
kubectl chrek gc --older-than 14d

# Keep the two latest used checkpoints of each model
kubectl chrek gc --keep-last 2 --yes

# Delete two checkpoints, artifacts included
kubectl chrek gc 5941a4cb3c363457 4a5f6cbea582b088

# Only show what would go, and on stderr what is kept and why
kubectl chrek gc --all --dry-run=client -v=1
"""


@options.command("gc", examples=EXAMPLES)
def command(
    *,
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="Only these")] = [],  # noqa: B006 - never mutated
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DURATION", help="Only what was last restored or captured before that, say 14d")
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only Failed ones")] = False,
    keep_last: Annotated[
        int | None, typer.Option("--keep-last", metavar="N", help="Of each model, spare the N Ready ones used last")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are Ready or Failed")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    dry_run: DryRun = "none",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the artifacts are deleted")] = True,
    timeout: Timeout = "5m",
    output_format: Output = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Delete checkpoints and their artifacts.

    What is referenced, pinned or being made is always kept.
    """
    from kubectl_chrek.cli.collecting import Collecting
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.ops.gc import Criteria

    criteria = Criteria(
        names=tuple(dict.fromkeys(names)),
        older_than=parse_duration(older_than) if older_than else None,
        failed=failed,
        keep_last=keep_last,
        everything=everything,
    )
    criteria.check()
    collecting = Collecting(
        connection=connection,
        criteria=criteria,
        yes=yes,
        dry_run=dry_run_strategy(dry_run),
        wait=wait,
        seconds=parse_duration(timeout),
        form=parse_format(output_format, ("name", "json", "yaml")),
    )
    return run(connection, collecting.run)
