"""`kubectl chrek prewarm`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import options
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.identity_flags import IDENTITY, IdentitySpec
from kubectl_chrek.cli.options import DryRun, Files, Output, Timeout, dry_run_strategy
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

# Write the DynamoCheckpoint instead of creating it
kubectl chrek prewarm -f graph.yaml --dry-run=client -o yaml
"""


@options.command("prewarm", examples=EXAMPLES, groups={"identity": IDENTITY})
def command(
    *,
    words: Annotated[list[str], typer.Argument(metavar="[-- COMMAND [ARG]...]", help="Starts the worker")] = [],  # noqa: B006 - never mutated
    filename: Files = [],  # noqa: B006 - never mutated
    graph: Annotated[str, typer.Option("--graph", help="A DynamoGraphDeployment in the cluster", show_default=False)] = "",
    service: Annotated[str, typer.Option("--service", help="Only this service of the graph", show_default=False)] = "",
    identity: IdentitySpec,
    image: Annotated[str, typer.Option("--image", help="The worker's image", show_default=False)] = "",
    gpus: Annotated[int, typer.Option("--gpus", help="The worker's GPUs", show_default=False)] = 0,
    pod_template: Annotated[
        str, typer.Option("--pod-template", metavar="FILE", help="The worker's pod, instead of --image", show_default=False)
    ] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is Ready, showing progress")] = False,
    timeout: Timeout = "30m",
    dry_run: DryRun = "none",
    output_format: Output = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Create the checkpoint of an identity or graph.

    One of the same identity that is there already is found, whatever its name.
    """
    from kubectl_chrek.cli.formats import parse_format
    from kubectl_chrek.cli.prewarming import Prewarming, Source

    return Prewarming(
        connection=connection,
        source=Source(
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
        seconds=parse_duration(timeout),
        dry_run=dry_run_strategy(dry_run),
        form=parse_format(output_format, ("name", "json", "yaml")),
    ).run()
