"""`hash --explain` and `hash --diff` as lines."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.cli import diagnostics, output
from kubectl_chrek.cli.diagnostics import ExitCode
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.documents import STDIN, read_source, source_name
from kubectl_chrek.ops.explaining import contributions, differences, digest
from kubectl_chrek.ops.hashing import Hashed, Result, hash_text, of_service

if TYPE_CHECKING:
    from kubectl_chrek.cluster import Cluster

_NONE = "<none>"


def write_explained(found: Sequence[Hashed], output_format: str) -> None:
    """What is hashed, and what each field contributes."""
    if output_format == "name":
        raise UsageError("--explain has no names: use -o json or -o yaml")
    if output_format:
        values = [hashed.to_dict() | _explained(hashed) for hashed in found]
        output.write_structured(output_format, values[0] if len(values) == 1 else values)
        return
    for number, hashed in enumerate(found):
        lines = [
            *[""] * (number > 0),
            f"{hashed.hash}  {output.one_line(hashed.label)}",
            f"canonical  {output.one_line(hashed.identity.canonical())}",
            f"sha256     {digest(hashed.identity)}",
        ]
        output.write_lines(lines)
        rows = [
            [each.field, _NONE if each.value is None else str(each.value), "yes" if each.hashed else "no", each.without or _NONE]
            for each in contributions(hashed.identity)
        ]
        output.write_table(["FIELD", "VALUE", "HASHED", "HASH-WITHOUT-IT"], rows)


def write_difference(connection: ConnectionOptions, left: str, right: str, *, service: str, output_format: str) -> ExitCode:
    """Names the fields in which two identities differ.

    Raises:
        UsageError: A file holds not exactly one identity.
        NotFoundError: What is no file is not in the cluster either.
    """
    one, other = resolve(connection, [left, right], service)
    found = differences(one.identity, other.identity)
    if output_format in ("json", "yaml"):
        sides = [{"hash": each.hash, "label": each.label} for each in (one, other)]
        value: dict[str, Any] = {"left": sides[0], "right": sides[1], "differences": [each.to_dict() for each in found]}
        output.write_structured(output_format, value)
    elif found:
        from kubectl_chrek.cli.differing import difference_lines

        lines = [f"--- {one.hash}  {one.label}", f"+++ {other.hash}  {other.label}", *difference_lines(found)]
        output.write_lines(map(output.one_line, lines))
    else:
        diagnostics.note(f"both have the hash {one.hash}")
    return ExitCode.ERROR if found else ExitCode.OK


def _explained(hashed: Hashed) -> dict[str, Any]:
    return {"sha256": digest(hashed.identity), "fields": [each.to_dict() for each in contributions(hashed.identity)]}


def resolve(connection: ConnectionOptions, operands: Sequence[str], service: str) -> list[Hashed]:
    """What the words stand for; a cluster is asked only about those that are no files.

    Raises:
        UsageError: A file holds not exactly one identity.
        NotFoundError: What is no file is not in the cluster either.
    """
    files = {word: _from_file(word, service) for word in operands if word == STDIN or Path(word).exists()}
    live = [word for word in dict.fromkeys(operands) if word not in files]
    if live:
        from kubectl_chrek.cli.session import run
        from kubectl_chrek.ops.lookup import find_identity

        async def look(cluster: "Cluster") -> dict[str, Hashed]:
            return {word: await find_identity(cluster, word) for word in live}

        files |= run(connection, look)
    return [files[word] for word in operands]


def _from_file(path: str, service: str) -> Hashed:
    results: list[Result | ChrekError] = list(hash_text(read_source(path, sys.stdin.buffer), source_name(path)))
    found = of_service(results, service) if service else results
    for each in found:
        if isinstance(each, ChrekError):
            raise each
    hashed = [each for each in found if isinstance(each, Hashed)]
    if len(hashed) != 1:
        labels = ", ".join(each.label for each in hashed) or "none"
        raise UsageError(
            f"{source_name(path)}: expected one identity, found {labels}",
            hint="give a file with one, or --service SERVICE of a graph",
        )
    return hashed[0]
