"""Huge pages for the memory that the driver makes in a worker: it advises none, and with small pages it is slower by 40 %."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOG: Final = logging.getLogger(__name__)
SWITCH: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@contextmanager
def huge_pages(switch: Path = SWITCH) -> Iterator[None]:
    """While the block runs, new anonymous memory on this node is put on huge pages unless its process refuses them.

    Changes nothing where they are always used, or never. A node that may not be changed is left as it is.
    """
    changed = False
    try:
        if "[madvise]" in switch.read_text():
            switch.write_text("always")
            changed = True
    except OSError as error:
        LOG.debug("huge pages are left as they are: %s", error)
    try:
        yield
    finally:
        if changed:
            with suppress(OSError):
                switch.write_text("madvise")
