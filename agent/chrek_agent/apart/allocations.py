"""Where on which GPU a worker's memory apart was: told at the capture, so that a restore can make it before the worker runs."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from chrek_agent.apart.channel import ApartError, number
from chrek_agent.errors import ArtifactError
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.chunking import PAGE

FILE: Final = "apart.json"
"""Among an artifact's files, if there is anything to know."""
MOST: Final = 1 << 15
"""Allocations of one process."""
_GPU: Final = re.compile(r"GPU(-[0-9a-f]+){5}")
_LETTERS: Final = 40


@dataclass(frozen=True, slots=True, order=True)
class Allocation:
    """Physical memory of `length` bytes on one GPU, mapped as a whole at an address; `gpu` is its UUID."""

    address: int
    length: int
    gpu: str

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.length


Allocations = Mapping[int, Sequence[Allocation]]
"""By process, its PID inside; in order."""


def ranges(listed: object) -> list[tuple[int, int]]:
    """Starts and lengths that a worker has listed: of whole pages, in order, none into another. Raises ApartError."""
    if not isinstance(listed, list) or not all(isinstance(each, list) and len(each) == 2 for each in listed):
        raise ApartError("regions are pairs of numbers")
    found = sorted((number({"address": start}, "address"), number({"length": length}, "length")) for start, length in listed)
    end = 0
    for start, length in found:
        if start % PAGE or length % PAGE or not length or start < end or start + length >= 1 << 63:
            raise ApartError(f"{start:#x} with {length} bytes is no region")
        end = start + length
    return found


def told(message: Mapping[str, Any], stretches: Iterable[tuple[int, int]]) -> list[Allocation]:
    """The allocations that a worker says its stretches of GPU memory lie in; none of a worker that does not say.

    Raises:
        ApartError: They are none, or a stretch lies partly in one.
    """
    by_gpu = message.get("allocations", {})
    if not isinstance(by_gpu, dict) or not all(len(gpu) <= _LETTERS and _GPU.fullmatch(gpu) for gpu in by_gpu):
        raise ApartError("allocations are lists of regions by the UUID of their GPU")
    found = sorted(Allocation(start, length, gpu) for gpu, listed in by_gpu.items() for start, length in ranges(listed))
    if len(found) > MOST or any(one.end > other.address for one, other in pairwise(found)):
        raise ApartError("allocations overlap, or are too many")
    for start, length in stretches:
        if _crosses(found, start, start + length):
            raise ApartError(f"{start:#x} with {length} bytes is not within one allocation")
    return found


def holder(found: Sequence[Allocation], address: int) -> Allocation | None:
    """That which an address lies in."""
    at = bisect_right(found, address, key=lambda allocation: allocation.address) - 1
    return found[at] if at >= 0 and address < found[at].end else None


def _crosses(found: Sequence[Allocation], start: int, end: int) -> bool:
    """Only a part of it lies in an allocation."""
    first = holder(found, start)
    if first is not None:
        return end > first.end
    after = bisect_right(found, start, key=lambda allocation: allocation.address)
    return after < len(found) and found[after].address < end


def dump(allocations: Allocations) -> bytes:
    """As an artifact has them."""
    listed = {
        str(owner): [[one.address, one.length, one.gpu] for one in found] for owner, found in sorted(allocations.items()) if found
    }
    return json.dumps({"allocations": listed}).encode()


def load(artifact: Artifact) -> dict[int, list[Allocation]]:
    """An artifact's; empty where it has none. Raises ArtifactError."""
    content = artifact.content(FILE)
    try:
        listed = {} if content is None else json.loads(content)["allocations"]
        return {
            int(owner): sorted(Allocation(int(address), int(length), str(gpu)) for address, length, gpu in found)
            for owner, found in listed.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{FILE} is damaged") from error
