"""`kubectl chrek gc`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import DryRun, Timeout, dry_run_strategy, formats
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

EXAMPLES = """
# Show what no graph and no pod refers to and was not used for two weeks, and ask
kubectl chrek gc --unreferenced --keep-within 14d

# Keep the two latest used checkpoints of each model
kubectl chrek gc --keep-last 2 --yes

# Come below 500Gi, but keep the latest of each model
kubectl chrek gc --max-bytes 500Gi --keep-last 1

# What failed, what belongs to no graph any more, and what no node can restore
kubectl chrek gc --failed --orphans --incompatible -A

# Delete two checkpoints, artifacts included, at once
kubectl chrek gc 5941a4cb3c363457 4a5f6cbea582b088 --now

# Look first, then run exactly what was shown
kubectl chrek gc --all --dry-run=client -v=1
kubectl chrek gc --all --plan 3f29c1d0a4
"""

FORMATS: Final = ("name", "json", "yaml")


@options.command("gc", examples=EXAMPLES)
def command(
    *,
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="Only these")] = [],  # noqa: B006 - never mutated
    unreferenced: Annotated[bool, typer.Option("--unreferenced", help="Ready ones that nobody refers to")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Failed ones")] = False,
    orphans: Annotated[bool, typer.Option("--orphans", help="Those whose graph is gone, or without an artifact")] = False,
    incompatible: Annotated[bool, typer.Option("--incompatible", help="Those that no node can restore")] = False,
    max_bytes: Annotated[
        str,
        typer.Option("--max-bytes", metavar="SIZE", help="Those used longest ago, until the rest fits", show_default=False),
    ] = "",
    low_bytes: Annotated[
        str, typer.Option("--low-bytes", metavar="SIZE", help="Once above --max-bytes, go down to this", show_default=False)
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="All that are Ready or Failed")] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DURATION", help="Only what was last restored or captured before that, say 14d")
    ] = "",
    keep_last: Annotated[
        int | None, typer.Option("--keep-last", metavar="N", help="Of each model, spare the N Ready ones used last")
    ] = None,
    keep_within: Annotated[str, typer.Option("--keep-within", metavar="DURATION", help="Spare what was used within that")] = "",
    plan: Annotated[str, typer.Option("--plan", metavar="ID", help="Run this plan or nothing, without asking")] = "",
    grace: Annotated[str, typer.Option("--grace", metavar="DURATION", help="How long undelete works")] = "1h",
    now: Annotated[bool, typer.Option("--now", help="The same as --grace 0")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    dry_run: DryRun = "none",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="With --now, wait until the artifacts are deleted")] = True,
    timeout: Timeout = "5m",
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Delete checkpoints and their artifacts.

    The first flags say what may go and add to each other; names, --older-than and --keep-... narrow that. What is referenced,
    pinned, in use or being made is always kept.
    """
    from kubectl_chrek.cli.collecting import Collecting
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.ops.formatting import parse_bytes
    from kubectl_chrek.ops.retention import Policy

    policy = Policy(
        names=tuple(dict.fromkeys(names)),
        failed=failed,
        orphans=orphans,
        incompatible=incompatible,
        unreferenced=unreferenced,
        everything=everything,
        max_bytes=parse_bytes(max_bytes) if max_bytes else None,
        low_bytes=parse_bytes(low_bytes) if low_bytes else None,
        older_than=parse_duration(older_than) if older_than else None,
        keep_last=keep_last,
        keep_within=parse_duration(keep_within) if keep_within else None,
    )
    policy.check()
    collecting = Collecting(
        connection=connection,
        policy=policy,
        plan_id=plan,
        grace=0.0 if now else parse_duration(grace),
        yes=yes,
        dry_run=dry_run_strategy(dry_run),
        wait=wait,
        seconds=parse_duration(timeout),
        form=parse_format(output_format, FORMATS),
    )
    return run(connection, collecting.run)
