"""`kubectl chrek inspect`."""

from typing import Annotated, Final

from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import Names, choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# Processes, sizes and what the capture depends on
kubectl chrek inspect 5941a4cb3c363457

# The same as JSON
kubectl chrek inspect 5941a4cb3c363457 -o json
"""

FORMATS: Final = ("json", "yaml")


@options.command("inspect", examples=EXAMPLES)
def command(*, names: Names, output_format: Annotated[str, formats(FORMATS)] = "", connection: ConnectionOptions) -> ExitCode:
    """Show what lies in checkpoints."""
    from kubectl_chrek.api.checkpoint import read_checkpoint
    from kubectl_chrek.api.errors import ChrekError
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.cluster.resources import CHECKPOINTS
    from kubectl_chrek.ops.inspecting import record, tree

    choice("--output", output_format, ("", *FORMATS))
    options.one_namespace(connection)

    async def show(cluster: Cluster) -> ExitCode:
        code, records = ExitCode.OK, []
        for name in names:
            try:
                checkpoint = read_checkpoint(await cluster.get(CHECKPOINTS, name))
                records.append(record(checkpoint))
                if not output_format:
                    output.write_lines([*[""] * (len(records) > 1), *map(output.one_line, tree(checkpoint))])
            except ChrekError as error:
                code = diagnostics.report(error)
        if output_format and records:
            output.write_structured(output_format, records[0] if len(names) == 1 else records)
        return code

    return run(connection, show)
