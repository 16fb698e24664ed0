"""`kubectl chrek df`."""

from typing import Annotated, Final

from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import NoHeaders, choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# What the checkpoints of each model take, and what could be had back
kubectl chrek df -A

# Each checkpoint, with what it shares with others
kubectl chrek df -v
"""

FORMATS: Final = ("json", "yaml")


@options.command("df", examples=EXAMPLES)
def command(
    *,
    no_headers: NoHeaders = False,
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Show what checkpoints take in the store.

    LOGICAL is what they hold, STORED what they take once equal chunks and zero pages are left out, RECLAIMABLE what gc could free.
    """
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cli.sizes import checkpoint_table, group_table, store_notes, to_dict
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.ops.usage import fetch

    choice("--output", output_format, ("", *FORMATS))

    async def show(cluster: Cluster) -> ExitCode:
        report = await fetch(cluster, connection)
        if output_format:
            output.write_structured(output_format, to_dict(report))
            return ExitCode.OK
        namespaces = connection.all_namespaces
        headers, rows = checkpoint_table(report, namespaces=namespaces) if diagnostics.verbosity() else group_table(report)
        if report.groups:
            output.write_table(headers, rows, show_headers=not no_headers)
        else:
            diagnostics.note(f"No artifacts found{'' if namespaces else f' in {cluster.namespace} namespace'}.")
        for line in store_notes(report):
            diagnostics.note(line)
        return ExitCode.OK

    return run(connection, show)
