"""Kubernetes quantities: `500m`, `2Gi`, `1e3`."""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from kubectl_chrek.api.errors import UsageError

_SUFFIXES: Final[dict[str, Decimal]] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** (power + 1) for power, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Decimal(1024) ** (power + 1) for power, suffix in enumerate("KMGTPE")},
}


def parse(quantity: str | float) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        UsageError: It is no quantity.
    """
    text = str(quantity)
    suffix = next((suffix for suffix in (text[-2:], text[-1:]) if suffix in _SUFFIXES), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1))
    except InvalidOperation as error:
        raise UsageError(f"{text!r} is not a quantity", hint="write it like 500m, 2 or 4Gi") from error


def requests(pod: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod's containers ask for together; a limit without a request counts as one."""
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        for name, amount in _asked(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in pod["spec"].get("initContainers") or ():
        for name, amount in _asked(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def add(totals: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    """The sum, resource by resource."""
    result: dict[str, Decimal] = {}
    for total in totals:
        for name, amount in total.items():
            result[name] = result.get(name, Decimal(0)) + amount
    return result


def _asked(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = (resources.get("limits") or {}) | (resources.get("requests") or {})
    return {name: parse(amount) for name, amount in asked.items()}
