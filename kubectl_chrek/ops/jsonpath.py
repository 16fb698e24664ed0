"""The part of kubectl's JSONPath that people use: fields, indices, slices, `..`, filters and `{range}{end}` templates."""

import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kubectl_chrek.api.errors import UsageError

Step = Callable[[Any], Iterator[Any]]
Path = Sequence[Step]

_NAME: Final = r"(?:[^\\.\[\]{}()\s=!<>'\"|&,]|\\.)+"
_TOKEN: Final = re.compile(
    rf"""\.\.(?P<deep>{_NAME}|\*)
       | \.?\[(?P<index>-?\d+)\]
       | \.?\[(?P<start>-?\d*):(?P<stop>-?\d*)\]
       | \.?\[(?P<all>\*)\] | \.(?P<every>\*)
       | \.?\[\?\((?P<filter>(?:[^()"']|"[^"]*"|'[^']*')+)\)\]
       | \.?\[(?P<quoted>'[^']*'|"[^"]*")\]
       | \.(?P<name>{_NAME})""",
    re.VERBOSE,
)
_COMPARISON: Final = re.compile(r"@(?P<path>\S*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*")
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_PIECE: Final = re.compile(r"""\{((?:[^{}"']|"(?:[^"\\]|\\.)*"|'[^']*')*)\}""")


def parse_path(text: str) -> Path:
    """A path such as `.status.phase`, `{.status.phase}` or `status.phase`.

    Raises:
        UsageError: It is none that we know.
    """
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    inner = inner.removeprefix("$").removeprefix("@")
    if inner and inner[0] not in ".[":
        inner = f".{inner}"
    steps: list[Step] = []
    position = 0
    while position < len(inner) and inner != ".":
        token = _TOKEN.match(inner, position)
        if not token:
            raise UsageError(f"jsonpath: cannot read {text!r} at {inner[position:]!r}")
        steps.append(_step(token))
        position = token.end()
    return steps


def find(path: Path, value: Any) -> list[Any]:
    """All values at the path, in order; none where something is missing."""
    found = [value]
    for step in path:
        found = [result for item in found for result in step(item)]
    return found


def text_of(value: Any) -> str:
    """A value as kubectl prints it: text bare, all else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def render(template: str, value: Any) -> str:
    """Fills in a template such as `{range .items[*]}{.metadata.name} {end}`.

    Raises:
        UsageError: The template cannot be read.
    """
    pieces = _PIECE.split(template)
    if any("{" in text or "}" in text for text in pieces[::2]):
        raise UsageError(f"jsonpath: unbalanced braces in {template!r}")
    rendered, rest = _render(list(enumerate(pieces)), value)
    if rest:
        raise UsageError("jsonpath: {end} without {range}")
    return rendered


def _render(pieces: Sequence[tuple[int, str]], value: Any, *, inside: bool = False) -> tuple[str, Sequence[tuple[int, str]]]:
    """The text up to the closing {end}, and the pieces after it. Pieces with odd numbers stood in braces."""
    out = ""
    while pieces:
        (number, piece), pieces = pieces[0], pieces[1:]
        expression = piece.strip()
        if number % 2 == 0:
            out += piece
        elif expression == "end":
            return out, pieces or [(0, "")]
        elif expression.startswith("range"):
            looped, after = "", pieces
            for item in find(parse_path(expression.removeprefix("range")), value) or [None]:
                text, after = _render(pieces, item, inside=True)
                looped += "" if item is None else text
            out, pieces = out + looped, after
        elif expression[:1] in ("'", '"'):
            out += _literal(expression)
        else:
            out += " ".join(text_of(item) for item in find(parse_path(expression), value))
    if inside:
        raise UsageError("jsonpath: {range} without {end}")
    return out, []


def _literal(text: str) -> Any:
    """A quoted text, a number, true, false or null."""
    if text[:1] == "'" and text[-1:] == "'":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"jsonpath: cannot read the value {text}") from error


def _step(token: re.Match[str]) -> Step:
    kind = token.lastgroup
    if token["start"] is not None:
        start, stop = (int(part) if part else None for part in (token["start"], token["stop"]))
        return lambda value: iter(value[start:stop] if isinstance(value, list) else ())
    match kind:
        case "deep":
            return _field_below(_unescaped(token["deep"]))
        case "index":
            return _item(int(token["index"]))
        case "all" | "every":
            return _children
        case "filter":
            return _filter(token["filter"])
        case _:
            quoted = token["quoted"]
            return _field(quoted[1:-1] if quoted else _unescaped(token["name"]))


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _field(name: str) -> Step:
    return lambda value: iter([value[name]] if isinstance(value, Mapping) and name in value else ())


def _item(index: int) -> Step:
    return lambda value: iter([value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else ())


def _children(value: Any) -> Iterator[Any]:
    items: Iterable[Any] = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    yield from items


def _field_below(name: str) -> Step:
    here = _children if name == "*" else _field(name)

    def descend(value: Any) -> Iterator[Any]:
        yield from here(value)
        for child in _children(value):
            yield from descend(child)

    return descend


def _filter(text: str) -> Step:
    found = _COMPARISON.fullmatch(text.strip())
    if not found:
        raise UsageError(f"jsonpath: cannot read the filter {text!r}", hint='write it as ?(@.status.phase=="Ready")')
    path = parse_path(found["path"])
    if not found["operator"]:
        return lambda value: (item for item in _children(value) if find(path, item))
    compare, wanted = _OPERATORS[found["operator"]], _literal(found["value"])

    def holds(item: Any) -> bool:
        # Values of different types are never in order, and a missing one equals nothing.
        comparable = (str,) if isinstance(wanted, str) else (int, float)
        equality = compare in (operator.eq, operator.ne)
        return any(compare(at, wanted) for at in find(path, item) if equality or isinstance(at, comparable))

    return lambda value: (item for item in _children(value) if holds(item))
