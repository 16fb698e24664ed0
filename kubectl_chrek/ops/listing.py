"""`ls`: which checkpoints, and in what order; `rows` says what is told of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubectl_chrek.api.errors import ChrekError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.formatting import UNKNOWN
from kubectl_chrek.ops.jsonpath import find, parse_path

if TYPE_CHECKING:
    from kubectl_chrek.api.checkpoint import Checkpoint

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which checkpoints: those of these names, or those that match the selectors."""

    names: tuple[str, ...] = ()
    labels: str = ""
    fields: str = ""


async def fetch(cluster: Cluster, options: ConnectionOptions, selection: Selection) -> tuple[list[Body], list[ChrekError]]:
    """The selected objects, by namespace and name or in the order of the names given, and an error for each name that is none.

    Raises:
        UsageError: Names were given for all namespaces, or together with a selector.
    """
    if not selection.names:
        scope = options.scope(cluster)
        found = await cluster.list(CHECKPOINTS, scope, labels=selection.labels, fields=selection.fields)
        return sorted(found, key=place), []
    check_names(options, selection)
    bodies, errors = [], []
    for name in selection.names:
        try:
            bodies.append(await cluster.get(CHECKPOINTS, name))
        except NotFoundError as error:
            errors.append(error)
    return bodies, list[ChrekError](errors)


async def fetch_checkpoints(cluster: Cluster, options: ConnectionOptions, selection: Selection) -> list["Checkpoint"]:
    """The selected checkpoints.

    Raises:
        NotFoundError: One of the names is none.
        UsageError: As fetch.
    """
    from kubectl_chrek.api.checkpoint import read_checkpoint

    bodies, errors = await fetch(cluster, options, selection)
    if errors:
        raise errors[0]
    return [read_checkpoint(body) for body in bodies]


def check_names(options: ConnectionOptions, selection: Selection) -> None:
    """Raises UsageError when the names cannot be meant as they are given."""
    if not selection.names:
        return
    if options.all_namespaces:
        raise UsageError("a checkpoint cannot be named across all namespaces", hint="give -n NAMESPACE instead of -A")
    if selection.labels or selection.fields:
        raise UsageError("give names or a selector, not both")


def sort_by(bodies: Sequence[Body], path: str) -> list[Body]:
    """The objects in the order of the value at a JSONPath: numbers before text, objects without it first.

    Raises:
        UsageError: The path cannot be read.
    """
    parsed = parse_path(path)

    def key(body: Body) -> tuple[int, float, str]:
        values = find(parsed, body)
        if not values or values[0] is None:
            return (0, 0.0, "")
        value = values[0]
        return (1, float(value), "") if isinstance(value, (int, float)) else (2, 0.0, str(value))

    return sorted(bodies, key=key)


def real_hash(checkpoint: "Checkpoint") -> str:
    """The hash of the identity, whatever the status says; `<unknown>` when the identity is none."""
    try:
        return checkpoint.hash
    except IdentityError:
        return UNKNOWN


def place(body: Body) -> tuple[str, str]:
    """Namespace and name: the order of lists."""
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]
