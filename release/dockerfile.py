"""The few instructions of a Dockerfile that ours use, read strictly: anything else is an error."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kubectl_chrek.api.errors import ChrekError

_PAIR: Final = re.compile(r"[A-Za-z_][\w.]*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class From:
    """`FROM IMAGE`: what the image begins with."""

    image: str


@dataclass(frozen=True, slots=True)
class Run:
    """`RUN COMMAND`: a line for /bin/sh."""

    command: str


@dataclass(frozen=True, slots=True)
class Copy:
    """`COPY SOURCE... TARGET`: of the build's context; a target that ends in a slash is a folder."""

    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Setting:
    """`ENV`, `LABEL`, `WORKDIR`, `USER` or `ENTRYPOINT`: something in the image's configuration."""

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()


Instruction = From | Run | Copy | Setting


def read_dockerfile(text: str) -> list[Instruction]:
    """Its instructions in order, FROM first.

    Raises:
        ChrekError: An instruction or a form of one that is not known here, with its line.
    """
    instructions = [_instruction(number, line) for number, line in _lines(text)]
    if not instructions or not isinstance(instructions[0], From):
        raise ChrekError("the Dockerfile does not begin with FROM")
    if sum(isinstance(instruction, From) for instruction in instructions) > 1:
        raise ChrekError("the Dockerfile has more than one FROM: stages are not known here")
    return instructions


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction with the number of its first line; comments are left out, also within one."""
    begun, parts = 0, list[str]()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        begun = begun if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            yield begun, " ".join(parts)
            parts = []
    if parts:
        raise ChrekError(f"line {begun}: the instruction has no end")


def _instruction(number: int, line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    words = [] if rest.startswith("[") else shlex.split(rest)
    match name, words:
        case "FROM", [image] if not image.startswith("--"):
            return From(image)
        case "RUN", [first, *_] if not first.startswith("--"):
            return Run(rest)
        case "COPY", [*sources, target] if sources and not any(word.startswith("--") for word in words):
            if len(sources) > 1 and not target.endswith("/"):
                raise ChrekError(f"line {number}: {target} must end in a slash, because several files go there")
            return Copy(tuple(sources), target)
        case (("ENV" | "LABEL"), [_, *_]) if all(_PAIR.fullmatch(word) for word in words):
            pairs = [word.partition("=") for word in words]
            return Setting(name, pairs=tuple((key, value) for key, _, value in pairs))
        case (("WORKDIR" | "USER"), [word]):
            return Setting(name, words=(word,))
        case "ENTRYPOINT", [] if rest:
            return Setting(name, words=_json_words(number, rest))
    raise ChrekError(f"line {number}: {line.split(maxsplit=1)[0]} in this form is not known here: {line[:60]}")


def _json_words(number: int, text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text)
    except ValueError as error:
        raise ChrekError(f"line {number}: not a list of words: {text}") from error
    return tuple(str(word) for word in words)
