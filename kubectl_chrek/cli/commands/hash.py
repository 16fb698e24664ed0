"""`kubectl chrek hash`."""

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.identity_flags import IDENTITY, IdentitySpec, parse_flags
from kubectl_chrek.cli.options import Files, choice, formats
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.documents import read_source, source_name
from kubectl_chrek.ops.hashing import Hashed, Result, hash_text, of_service

EXAMPLES = """
# The hash of an identity
kubectl chrek hash --model meta-llama/Llama-3-8B --backend-framework vllm --dtype bfloat16

# The hashes of all identities in a file, or of one service of a graph
kubectl chrek hash -f graph.yaml
kubectl chrek hash -f graph.yaml --service VllmWorker

# Of a service of a graph in the cluster
kubectl chrek hash dgd/my-llm/VllmWorker

# What each field contributes
kubectl chrek hash -f graph.yaml --explain

# Why a pod found no checkpoint: file, hash, checkpoint, or service of a graph in the cluster
kubectl chrek hash --diff graph.yaml 5941a4cb3c363457
kubectl chrek hash --diff dgd/my-llm/VllmWorker 5941a4cb3c363457

# Only the hashes, of JSON lines from stdin
kubectl chrek hash -f - -o name < identities.jsonl
"""

FORMATS: Final = ("name", "json", "yaml")


@options.command("hash", examples=EXAMPLES, groups={"identity": IDENTITY})
def command(
    *,
    operands: Annotated[
        list[str], typer.Argument(metavar="[NAME]...", help="A checkpoint, a hash, a file, or dgd/NAME/SERVICE")
    ] = [],  # noqa: B006 - never mutated
    identity: IdentitySpec,
    filename: Files = [],  # noqa: B006 - typer copies it
    service: Annotated[str, typer.Option("--service", help="Only this service of a graph", show_default=False)] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Show what is hashed, and what each field contributes")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Name the fields in which A and B differ; exits with 1 if any")] = False,
    output_format: Annotated[str, formats(FORMATS)] = "",
    connection: ConnectionOptions,
) -> ExitCode:
    """Print the hash of an identity, or of every identity in files."""
    choice("--output", output_format, ("", *FORMATS))
    if diff:
        from kubectl_chrek.cli.hashing import write_difference

        if len(operands) != 2 or identity or filename or explain:
            raise UsageError("--diff compares two: give A and B, each a file, a hash, a checkpoint or dgd/NAME/SERVICE")
        return write_difference(connection, operands[0], operands[1], service=service, output_format=output_format)
    if sum(map(bool, (operands, identity, filename))) != 1:
        raise UsageError("give one of: --model and --backend-framework, -f FILE, a checkpoint or dgd/NAME/SERVICE")
    if operands:
        from kubectl_chrek.cli.hashing import resolve

        return _finish(resolve(connection, operands, service), output_format, explain=explain)
    if service and not filename:
        raise UsageError("--service needs -f FILE")
    results = list(_from_files(filename)) if filename else [_from_flags(identity)]
    return _finish(of_service(results, service) if service else results, output_format, explain=explain)


def _finish(results: Sequence[Result | ChrekError], output_format: str, *, explain: bool) -> ExitCode:
    found = [result for result in results if isinstance(result, Hashed)]
    if explain:
        from kubectl_chrek.cli.hashing import write_explained

        write_explained(found, output_format)
    else:
        _write(found, output_format)
    for result in results:
        _comment(result)
    failed = any(isinstance(result, ChrekError) for result in results)
    if not found and not failed:
        raise UsageError("there is no identity to hash", hint="a checkpointRef names a DynamoCheckpoint, which has one")
    return ExitCode.USAGE if failed else ExitCode.OK


def _comment(result: Result | ChrekError) -> None:
    """What a person should know of it, on stderr."""
    if isinstance(result, ChrekError):
        diagnostics.report(result)
    elif not isinstance(result, Hashed):
        diagnostics.warn(f"{result.where}: {result.label} refers to {result.name} by name, so it has no identity to hash")
    elif result.misnamed:
        diagnostics.warn(f"{result.where}: {result.label} is not named after its hash, which is {result.hash}")


def _from_flags(spec: IdentitySpec) -> Hashed:
    identity = parse_flags(spec)
    return Hashed(identity, identity.hash, identity.model, "flags")


def _from_files(paths: Sequence[str]) -> Iterator[Result | ChrekError]:
    for path in paths:
        try:
            text = read_source(path, sys.stdin.buffer)
        except ChrekError as error:
            yield error
        else:
            yield from hash_text(text, source_name(path))


def _write(found: Sequence[Hashed], output_format: str) -> None:
    if output_format == "name":
        output.write_lines(hashed.hash for hashed in found)
    elif output_format:
        values = [hashed.to_dict() for hashed in found]
        output.write_structured(output_format, values[0] if len(values) == 1 else values)
    else:
        output.write_lines(f"{hashed.hash}  {output.one_line(hashed.label)}" for hashed in found)
