"""`-o`: what a user may ask for, and objects printed that way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cli import output
from kubectl_chrek.cli.options import WITH_ARGUMENT
from kubectl_chrek.cluster.resources import Resource
from kubectl_chrek.ops.formatting import NONE
from kubectl_chrek.ops.jsonpath import find, parse_path, render, text_of

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """A parsed `-o`: `kind` is empty for the default; `argument` follows the first `=`."""

    kind: str
    argument: str = ""

    @property
    def table(self) -> bool:
        """Rows for people."""
        return self.kind in ("", "wide")


def parse_format(text: str, allowed: Sequence[str]) -> Format:
    """Reads `-o`.

    Raises:
        UsageError: The format is unknown, or its argument is missing or one too many.
    """
    kind, equals, argument = text.partition("=")
    if text and (kind not in allowed or (equals and kind not in WITH_ARGUMENT)):
        raise UsageError(f"--output: unknown format {text!r}", hint=f"one of {', '.join(allowed)}")
    if kind in WITH_ARGUMENT and not argument:
        raise UsageError(f"--output: {kind} needs a template", hint=f"for example -o {_EXAMPLES[kind]}")
    return Format(kind, argument)


_EXAMPLES: Final = {"jsonpath": "jsonpath='{.status.phase}'", "custom-columns": "custom-columns=NAME:.metadata.name"}


def write_objects(form: Format, resource: Resource, bodies: Sequence[Body], *, single: bool, show_headers: bool = True) -> None:
    """Writes objects in any format but the tables; `single` ones without a list around them."""
    match form.kind:
        case "name":
            output.write_lines(object_name(resource, body["metadata"]["name"]) for body in bodies)
        case "json" | "yaml":
            output.write_structured(form.kind, bodies[0] if single and bodies else output.as_list(bodies))
        case "jsonpath":
            output.write(render(form.argument, bodies[0] if single and bodies else output.as_list(bodies)))
        case _:
            _write_custom_columns(form.argument, bodies, show_headers=show_headers)


def dry_run_suffix(strategy: str) -> str:
    """What kubectl writes after the verb of a change that was not made."""
    return {"none": "", "client": " (dry run)", "server": " (server dry run)"}[strategy]


def object_name(resource: Resource, name: str) -> str:
    """As kubectl prints it: `dynamocheckpoint.nvidia.com/NAME`."""
    return f"{resource.display}/{name}"


def _write_custom_columns(spec: str, bodies: Sequence[Body], *, show_headers: bool) -> None:
    columns = CustomColumns(spec)
    output.write_table(columns.headers, [columns.row(body) for body in bodies], show_headers=show_headers)


class CustomColumns:
    """What `-o custom-columns=` asks for. Raises UsageError when it cannot be read."""

    def __init__(self, spec: str) -> None:
        parts = [(column, *column.partition(":")) for column in spec.split(",")]
        wrong = next((column for column, header, _, path in parts if not header or not path), None)
        if wrong is not None:
            raise UsageError(f"--output: cannot read the column {wrong!r}", hint="write HEADER:.path,HEADER:.path")
        self.headers = [header for _, header, _, _ in parts]
        self._paths = [parse_path(path) for _, _, _, path in parts]

    def row(self, body: Body) -> list[str]:
        """The cells of one object."""
        return [",".join(map(text_of, find(path, body))) or NONE for path in self._paths]
