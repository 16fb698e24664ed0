"""`diff A B`: in what two checkpoints differ: identity, what they depend on, and sizes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.ops.explaining import Difference, differences
from kubectl_chrek.ops.formatting import plural

_COUNTS = ("bytes", "files", "stored_bytes", "unique_bytes", "cold_start_seconds", "capture_seconds")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of two checkpoints and all that differs in it."""

    title: str
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {"section": self.title, "differences": [each.to_dict() for each in self.differences]}


def compare(left: Checkpoint, right: Checkpoint) -> list[Section]:
    """The parts in which they differ; empty when a pod could use either."""
    sections = (
        Section("identity", tuple(_identities(left, right))),
        Section("compatibility", tuple(_compatibility(left, right))),
        Section("processes", tuple(_of(_processes(left), _processes(right)))),
        Section("sizes", tuple(_of(_sizes(left), _sizes(right)))),
    )
    return [section for section in sections if section.differences]


def _identities(left: Checkpoint, right: Checkpoint) -> list[Difference]:
    try:
        return differences(left.identity, right.identity)
    except IdentityError:
        # One that cannot be read is compared as it stands.
        return _of(left.spec.get("identity") or {}, right.spec.get("identity") or {})


def _compatibility(left: Checkpoint, right: Checkpoint) -> list[Difference]:
    """Lists are told by what only one side has: a CPU has hundreds of features."""
    found = []
    for difference in _of(_facts(left), _facts(right)):
        before, after = difference.left, difference.right
        if isinstance(before, list) and isinstance(after, list) and all(isinstance(each, str) for each in before + after):
            only_left, only_right = sorted(set(before) - set(after)), sorted(set(after) - set(before))
            if not (only_left or only_right):
                only_left, only_right = before, after
            found.append(Difference(difference.field, only_left, only_right))
        else:
            found.append(difference)
    return found


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    artifact = checkpoint.status.artifact
    return artifact.compatibility.model_dump(mode="json", by_alias=True, exclude_none=True) if artifact else {}


def _sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    artifact = checkpoint.status.artifact
    return artifact.model_dump(mode="json", include=set(_COUNTS), exclude_none=True, by_alias=True) if artifact else {}


def _processes(checkpoint: Checkpoint) -> dict[str, Any]:
    """How many there are of each name, and their threads."""
    counted: dict[str, list[int]] = {}
    for process in checkpoint.status.artifact.processes if checkpoint.status.artifact else ():
        counted.setdefault(process.name, []).append(process.threads)
    return {name: f"{len(threads)} with {plural(sum(threads), 'thread')}" for name, threads in sorted(counted.items())}


def _of(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    order = dict.fromkeys([*left, *right])
    return [Difference(field, left.get(field), right.get(field)) for field in order if left.get(field) != right.get(field)]
