"""`kubectl chrek hash`."""

import sys
from collections.abc import Iterator, Sequence

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.cli import diagnostics, options, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.cli.identity_flags import IDENTITY, IdentitySpec, parse_flags
from kubectl_chrek.cli.options import Files, Output, choice
from kubectl_chrek.ops.documents import read_source, source_name
from kubectl_chrek.ops.hashing import Hashed, Result, hash_text

EXAMPLES = """
# The hash of an identity
kubectl chrek hash --model meta-llama/Llama-3-8B --backend-framework vllm --dtype bfloat16

# The hashes of all identities in a file, hash first
kubectl chrek hash -f graph.yaml

# Only the hashes, of JSON lines from stdin
kubectl chrek hash -f - -o name < identities.jsonl
"""


@options.command("hash", examples=EXAMPLES, groups={"identity": IDENTITY})
def command(*, identity: IdentitySpec, filename: Files = [], output_format: Output = "") -> ExitCode:  # noqa: B006 - typer copies it
    """Print the hash of an identity, or of every identity in files."""
    choice("--output", output_format, ("", "name", "json", "yaml"))
    if bool(identity) == bool(filename):
        raise UsageError("give either --model and --backend-framework, or -f FILE")
    results = list(_from_files(filename)) if filename else [_from_flags(identity)]
    found = [result for result in results if isinstance(result, Hashed)]
    _write(found, output_format)
    for result in results:
        _comment(result)
    if not found and not any(isinstance(result, ChrekError) for result in results):
        raise UsageError("there is no identity to hash", hint="a checkpointRef names a DynamoCheckpoint, which has one")
    return ExitCode.USAGE if any(isinstance(result, ChrekError) for result in results) else ExitCode.OK


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
