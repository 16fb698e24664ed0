"""The flags that spell an identity, for `hash` and `prewarm`."""

from typing import Annotated, Any, Final

import typer

from kubectl_chrek.api.errors import IdentityError, UsageError
from kubectl_chrek.api.identity import Identity, parse_identity
from kubectl_chrek.cli.options import FlagGroup

IdentitySpec = dict[str, Any]
"""`spec.identity` as the flags spell it; empty when none is given."""

_WHERE: Final = "identity"
_FLAGS: Final = {
    "model": "--model",
    "backendFramework": "--backend-framework",
    "framework": "--framework",
    "dynamoVersion": "--dynamo-version",
    "tensorParallelSize": "--tensor-parallel-size",
    "pipelineParallelSize": "--pipeline-parallel-size",
    "dtype": "--dtype",
    "maxModelLen": "--max-model-len",
    "extraParameters": "--extra",
}


def _flag(name: str, help_text: str, metavar: str | None = None) -> Any:
    return typer.Option(name, help=help_text, metavar=metavar, show_default=False)


def parse_flags(spec: IdentitySpec) -> Identity:
    """The identity that the flags spell.

    Raises:
        UsageError: One of them is off; the message names the flag.
    """
    try:
        return parse_identity(spec, where=_WHERE)
    except IdentityError as error:
        field, _, rest = error.field.removeprefix(f"{_WHERE}.").partition(".")
        message = str(error).removeprefix(f"{error.field}: ")
        raise UsageError(f"{_FLAGS.get(field, field)}{f' {rest}' if rest else ''}: {message}", hint=error.hint) from error


def _collect(_: typer.Context, values: dict[str, Any]) -> IdentitySpec:
    extra = values.pop("extra")
    fields = {"extraParameters": _extra(extra)} if extra else {}
    for flag, value in values.items():
        if value is not None:
            head, *tail = flag.split("_")
            fields[head + "".join(map(str.capitalize, tail))] = value
    return fields


def _extra(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--extra: expected KEY=VALUE, got {pair!r}")
        if key in found:
            raise UsageError(f"--extra: {key} is given twice")
        found[key] = value
    return found


IDENTITY: Final = FlagGroup(
    (
        ("model", Annotated[str | None, _flag("--model", "Model, as the framework takes it")], None),
        ("backend_framework", Annotated[str | None, _flag("--backend-framework", "vllm, sglang or trtllm")], None),
        ("framework", Annotated[str | None, _flag("--framework", "The same as --backend-framework")], None),
        ("dynamo_version", Annotated[str | None, _flag("--dynamo-version", "Version of Dynamo in the image")], None),
        ("tensor_parallel_size", Annotated[int | None, _flag("--tensor-parallel-size", "GPUs per layer; default 1")], None),
        ("pipeline_parallel_size", Annotated[int | None, _flag("--pipeline-parallel-size", "Stages of layers; default 1")], None),
        ("dtype", Annotated[str | None, _flag("--dtype", "Data type of the weights")], None),
        ("max_model_len", Annotated[int | None, _flag("--max-model-len", "Longest sequence, in tokens")], None),
        ("extra", Annotated[list[str], _flag("--extra", "Another part of the identity; may be repeated", "KEY=VALUE")], []),
    ),
    _collect,
)
