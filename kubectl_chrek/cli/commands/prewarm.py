"""`kubectl chrek prewarm`."""

from typing import Annotated, Final

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.identity_flags import IDENTITY, IdentitySpec
from kubectl_chrek.cli.options import DryRun, Files, Timeout, dry_run_strategy, formats
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.durations import parse_duration

EXAMPLES = """
# Capture what the services of a graph will need, before the graph is applied
kubectl chrek prewarm -f graph.yaml --wait

# Capture a service of a graph in the cluster
kubectl chrek prewarm --graph my-llm --service VllmWorker

# Capture a worker given by its command
kubectl chrek prewarm --model meta-llama/Llama-3-8B --framework vllm --image vllm:latest --gpus 1 \\
  -- python3 -m dynamo.vllm --model meta-llama/Llama-3-8B

# Have it in the caches of nodes before the graph is scaled up there
kubectl chrek prewarm --checkpoint 5941a4cb3c363457 --nodes gpu-1,gpu-2 --wait
kubectl chrek prewarm -f graph.yaml --node-selector pool=h200 --wait

# Write the DynamoCheckpoint instead of creating it
kubectl chrek prewarm -f graph.yaml --dry-run=client -o yaml
"""

FORMATS: Final = ("name", "json", "yaml")


@options.command("prewarm", examples=EXAMPLES, groups={"identity": IDENTITY})
def command(
    *,
    words: Annotated[list[str], typer.Argument(metavar="[-- COMMAND [ARG]...]", help="Starts the worker")] = [],  # noqa: B006 - never mutated
    filename: Files = [],  # noqa: B006 - never mutated
    checkpoint: Annotated[
        list[str], typer.Option("--checkpoint", metavar="NAME", help="One that is there already; may be repeated")
    ] = [],  # noqa: B006 - never mutated
    graph: Annotated[str, typer.Option("--graph", help="A DynamoGraphDeployment in the cluster", show_default=False)] = "",
    service: Annotated[str, typer.Option("--service", help="Only this service of the graph", show_default=False)] = "",
    identity: IdentitySpec,
    image: Annotated[str, typer.Option("--image", help="The worker's image", show_default=False)] = "",
    gpus: Annotated[int, typer.Option("--gpus", help="The worker's GPUs", show_default=False)] = 0,
    pod_template: Annotated[
        str, typer.Option("--pod-template", metavar="FILE", help="The worker's pod, instead of --image", show_default=False)
    ] = "",
    nodes: Annotated[
        list[str],
        typer.Option("--nodes", metavar="NODE,...", help="Have it in the caches of these nodes; * is all that have an agent"),
    ] = [],  # noqa: B006 - never mutated
    node_selector: Annotated[
        str,
        typer.Option(
            "--node-selector", metavar="LABELS", help="Have it in the caches of nodes with these labels", show_default=False
        ),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is Ready, and staged, showing progress")] = False,
    timeout: Timeout = "30m",
    dry_run: DryRun = "none",
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Create the checkpoint of an identity or graph.

    One of the same identity that is there already is found, whatever its name. With --nodes or --node-selector it is then put
    into the caches of these nodes, as soon as it is Ready.
    """
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.prewarming import Prewarming, Source
    from kubectl_chrek.cli.staging import Staging

    form, seconds = parse_format(output_format, FORMATS), parse_duration(timeout)
    return Prewarming(
        connection=connection,
        staging=Staging(
            nodes=tuple(name for each in nodes for name in each.split(",") if name),
            selector=node_selector,
            seconds=seconds if wait else None,
            dry_run=dry_run_strategy(dry_run),
            quiet=bool(form.kind),
        ),
        source=Source(
            names=tuple(checkpoint),
            files=tuple(filename),
            graph=graph,
            service=service,
            identity=identity,
            image=image,
            gpus=gpus,
            command=tuple(words),
            pod_template=pod_template,
        ),
        wait=wait,
        seconds=seconds,
        dry_run=dry_run_strategy(dry_run),
        form=form,
    ).run()
