"""What a built-in kind does beyond being stored."""

from collections.abc import Callable
from dataclasses import dataclass

from kubectl_chrek.local.apiserver.failures import Flaw
from kubectl_chrek.local.apiserver.objects import Body


def nothing(_body: Body) -> None:
    """Leaves the object as it is."""


def never_wrong(_new: Body, _old: Body | None) -> list[Flaw]:
    """Finds no flaw."""
    return []


@dataclass(frozen=True, slots=True)
class Strategy:
    """The hooks of one kind, in the order in which they run; all but `check` change the object in place."""

    fill: Callable[[Body], None] = nothing
    """Defaults, on each write."""
    begin: Callable[[Body], None] = nothing
    """What the server sets on creation, when uid and name are known."""
    check: Callable[[Body, Body | None], list[Flaw]] = never_wrong
    """All that is wrong with an object; the second argument is what it replaces."""
