"""`kubectl chrek copy`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.cli import diagnostics, options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.options import formats
from kubectl_chrek.ops.connection import ConnectionOptions

EXAMPLES = """
# To another store, by an agent of this cluster; once more after it was cut off: it goes on where it was
kubectl chrek copy 5941a4cb3c363457 s3://my-bucket/checkpoints

# And a checkpoint of it in a cluster whose agents have that store
kubectl chrek copy llama oci://registry.example.com/checkpoints -o yaml | kubectl --context other apply -f -
"""

FORMATS: Final = ("json", "yaml")


@options.command("copy", examples=EXAMPLES)
def command(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a checkpoint")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="s3://bucket/prefix, oci://host/repository, or a directory")],
    to_namespace: Annotated[
        str, typer.Option("--to-namespace", help="Whose checkpoints may adopt it; default this one's", show_default=False)
    ] = "",
    node: Annotated[str, typer.Option("--node", help="By the agent of this node", show_default=False)] = "",
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Copy a checkpoint's artifact to another store."""
    from kubectl_chrek.api.checkpoint import read_checkpoint
    from kubectl_chrek.cli.diagnostics import ProgressLine
    from kubectl_chrek.cli.formats import parse_format, write_objects
    from kubectl_chrek.cli.session import run
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.cluster.resources import CHECKPOINTS
    from kubectl_chrek.ops import copying
    from kubectl_chrek.ops.formatting import human_bytes

    options.one_namespace(connection)
    form = parse_format(output_format, FORMATS)

    async def copy(cluster: Cluster) -> ExitCode:
        checkpoint, line = read_checkpoint(await cluster.get(CHECKPOINTS, name)), ProgressLine()
        namespace = to_namespace or cluster.namespace

        def show(done: int, missing: int) -> None:
            line.update(f"{name}: copying", f"{done} of {missing} chunks")

        try:
            answer = await copying.copy(cluster, checkpoint, store, namespace=namespace, node=node, progress=show)
        finally:
            line.close()
        new = (
            f"{answer['chunks']} chunks sent, {human_bytes(int(answer['storedBytes']))}"
            if answer["chunks"]
            else "nothing had to be sent"
        )
        diagnostics.note(f"{name} copied to {store}: {answer['artifact']}, {new}")
        if form.kind:
            write_objects(form, CHECKPOINTS, [copying.adopting(checkpoint, answer, namespace)], single=True)
        return ExitCode.OK

    return run(connection, copy)
