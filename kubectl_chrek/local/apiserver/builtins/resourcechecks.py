"""What can be wrong with the resources of a container."""

from collections.abc import Iterator, Mapping
from typing import Final

from kubectl_chrek.local.apiserver.failures import Flaw, invalid, required
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.quantity import parse

_NATIVE: Final = frozenset(("cpu", "memory", "ephemeral-storage"))


def check_resources(resources: Body, path: str) -> Iterator[Flaw]:
    """Flaws of a container's `resources`, at `path`."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, given in (("limits", limits), ("requests", requests)):
        for name, amount in given.items():
            yield from _amount(name, amount, f"{path}.{field}[{name}]")
    yield from _against(limits, requests, path)


def _amount(name: str, amount: str, path: str) -> Iterator[Flaw]:
    if "/" not in name and name not in _NATIVE and not name.startswith("hugepages-"):
        yield invalid(path, name, "must be a standard resource type or fully qualified")
        yield invalid(path, name, "must be a standard resource for containers")
    if parse(amount) < 0:
        yield invalid(path, amount, "must be greater than or equal to 0")
    if "/" in name and parse(amount) % 1:
        yield invalid(path, amount, "must be an integer")


def _against(limits: Mapping[str, str], requests: Mapping[str, str], path: str) -> Iterator[Flaw]:
    """Requests against limits; what is not shared, such as a GPU, is requested exactly as it is limited."""
    for name, amount in requests.items():
        shared, limit = name in _NATIVE, limits.get(name)
        if limit is None:
            if not shared:
                yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif not shared and parse(amount) != parse(limit):
            yield invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}")
        elif parse(amount) > parse(limit):
            yield invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}")
