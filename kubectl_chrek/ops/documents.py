"""Reads files of YAML documents, JSON documents and JSON lines, mixed as they come; one bad document does not hide the others.

JSON is read by `json`, not as YAML: YAML takes U+2028 for a line break and knows no surrogate pairs.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from kubectl_chrek.api.errors import NotFoundError, UsageError

STDIN: Final = "-"
_SEPARATOR: Final = re.compile(r"(?:---|\.\.\.)(?=\s|$)")
_NOTHING: Final = re.compile(r"\s*(?:#.*|%.*)?")


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed document. `number` counts the documents of `source`, `line` is where it begins; both start at 1."""

    source: str
    number: int
    line: int
    content: Any

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.source}: document {self.number} (line {self.line})"


def read_source(path: str, stdin: BinaryIO) -> str:
    """The text of a file, or of `stdin` when the path is `-`.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is a directory, cannot be read, or is not UTF-8.
    """
    try:
        raw = stdin.read() if path == STDIN else Path(path).read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}", hint="give a file, or - for stdin") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{source_name(path)}: line {line} is not valid UTF-8") from error


def source_name(path: str) -> str:
    """How messages name a source."""
    return "stdin" if path == STDIN else path


def parse_documents(text: str, source: str) -> Iterator[Document | UsageError]:
    """All documents of a text, in order; an error stands in the place of each one that cannot be parsed.

    A text without any document gives one error.
    """
    number = 0
    for line, chunk in _chunks(text):
        for start, found in _parse_chunk(chunk, line):
            number += 1
            if isinstance(found, _Broken):
                yield UsageError(f"{source}: document {number} (line {found.line}): {found.reason}")
            else:
                yield Document(source, number, start, found)
    if not number:
        yield UsageError(f"{source}: no document found", hint="expected YAML documents or JSON lines")


@dataclass(frozen=True, slots=True)
class _Broken:
    line: int
    reason: str


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """What stands between YAML's separators, with its first line's number; JSON never begins a line with one."""
    lines: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), 1):
        separator = _SEPARATOR.match(line)
        if separator:
            yield from _unless_empty(first, [*lines, ""])
            lines, first = [line[separator.end() :]], number
        else:
            lines.append(line)
    yield from _unless_empty(first, lines)


def _unless_empty(first: int, lines: list[str]) -> Iterator[tuple[int, str]]:
    if not all(_NOTHING.fullmatch(line) for line in lines):
        yield first, "\n".join(lines)


def _parse_chunk(chunk: str, line: int) -> Iterator[tuple[int, Any]]:
    if chunk.lstrip()[:1] in ("{", "["):
        yield from _parse_json(chunk, line)
    else:
        yield line, _parse_yaml(chunk, line)


def _parse_json(chunk: str, line: int) -> Iterator[tuple[int, Any]]:
    """Values one after the other; after a broken one, those that begin on later lines.

    YAML's flow style looks alike, so what is no JSON may still be that: the whole chunk, or a line of it.
    """
    position = _skip_space(chunk, 0)
    while position < len(chunk):
        start = line + chunk.count("\n", 0, position)
        try:
            value, end = _DECODER.raw_decode(chunk, position)
        except (ValueError, RecursionError) as error:
            value, end = _parse_flow(chunk, position, start) or (
                _Broken(start, _json_reason(error, line)),
                _line_end(chunk, position),
            )
        yield start, value
        position = _skip_space(chunk, end)


def _parse_flow(chunk: str, position: int, line: int) -> tuple[Any, int] | None:
    """YAML's flow style in the rest of the chunk or of the line, and where it ends; None when it is neither."""
    for end in (len(chunk), _line_end(chunk, position)):
        value = _parse_yaml(chunk[position:end], line)
        if not isinstance(value, _Broken):
            return value, end
    return None


def _json_reason(error: Exception, line: int) -> str:
    if isinstance(error, json.JSONDecodeError):
        reason = error.msg.removesuffix(" at")
        return f"not valid JSON: {reason[0].lower()}{reason[1:]} at line {line + error.lineno - 1}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"not valid JSON: {name} is no number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _parse_yaml(chunk: str, line: int) -> Any:
    from kubectl_chrek.ops.yaml_documents import YamlProblemError, parse_yaml

    try:
        return parse_yaml(chunk)
    except YamlProblemError as problem:
        return _Broken(line + problem.line - 1, str(problem))
