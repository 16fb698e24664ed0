"""Turns the words of plain flags into values without pydantic, which the command line framework would import for it.

That import is half of the time that `hash` may take. A parameter of any other type is left to the framework.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import typer

_WHOLE: Final = re.compile(r"[-+]?[0-9]+")


class PlainCoercion:
    """Text, whole numbers, lists of text and flags, as the framework's own coercion would return them."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of a parameter.

        Raises:
            typer.BadParameter: It should be a whole number and is not.
        """
        if self._annotation == list[str]:
            return list(value or ())
        if value is None or self._annotation is not int:
            return value
        if not _WHOLE.fullmatch(str(value)):
            raise typer.BadParameter(f"{value!r} is not a whole number.", ctx=ctx, param=param)
        return int(value)


def use_plain_coercion(parameters: Iterable[Any]) -> None:
    """Lets the parameters of these types do without pydantic."""
    for parameter in parameters:
        annotation = parameter.type_descriptor.annotation
        if annotation in (str, int, bool, list[str]):
            coercion = PlainCoercion(annotation)
            parameter.get_runtime_param = lambda coercion=coercion: coercion
