"""`kubectl chrek diff`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# In what two checkpoints differ
kubectl chrek diff 5941a4cb3c363457 4a5f6cbea582b088
"""

FORMATS: Final = ("json", "yaml")


@options.command("diff", examples=EXAMPLES)
def command(
    *,
    left: Annotated[str, typer.Argument(metavar="NAME", help="A checkpoint")],
    right: Annotated[str, typer.Argument(metavar="NAME", help="Another one")],
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Show in what two checkpoints differ.

    Exits with 0 when in nothing, and as kubectl diff does with 1 when in something.
    """
    from kubectl_chrek.api.checkpoint import read_checkpoint
    from kubectl_chrek.cli.differing import write_sections
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.cluster.resources import CHECKPOINTS
    from kubectl_chrek.ops.differing import compare

    choice("--output", output_format, ("", *FORMATS))
    options.one_namespace(connection)

    async def show(cluster: Cluster) -> ExitCode:
        one, other = [read_checkpoint(await cluster.get(CHECKPOINTS, name)) for name in (left, right)]
        sections = compare(one, other)
        if output_format:
            output.write_structured(output_format, [section.to_dict() for section in sections])
        elif sections:
            write_sections(sections, left, right)
        else:
            diagnostics.note(f"{left} and {right} do not differ.")
        return ExitCode.ERROR if sections else ExitCode.OK

    return run(connection, show)
