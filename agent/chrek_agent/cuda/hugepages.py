"""Huge pages for the memory that the driver makes in a worker: it advises none, and with small pages it is slower by 40 %."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOG: Final = logging.getLogger(__name__)
SWITCH: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@contextmanager
def huge_pages(turning: Callable[[Path], None], switch: Path = SWITCH) -> Iterator[None]:
    """While the block runs, new anonymous memory on this node is put on huge pages unless its process refuses them.

    Changes nothing where they are always used, or never. A node that may not be changed is left as it is.

    Args:
        turning: Told of the switch before it is turned: whoever outlives us turns it back.
        switch: The node's.
    """
    changed = False
    try:
        if "[madvise]" in switch.read_text():
            turning(switch)
            changed = True
            switch.write_text("always")
    except OSError as error:
        LOG.debug("huge pages are left as they are: %s", error)
    try:
        yield
    finally:
        if changed:
            turn_back(switch)


def turn_back(switch: Path) -> None:
    """As it was before, unless somebody has forbidden huge pages meanwhile. A node that may not be changed was not."""
    with suppress(OSError):
        if "[never]" not in switch.read_text():
            switch.write_text("madvise")
