"""The order of the driver's calls over all GPU processes of a tree, and its undoing. Pure: the driver is a Protocol.

All are locked before any is checkpointed, so that none waits for a peer that is gone; all are restored before any is unlocked.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from chrek_agent.cuda.driver import CudaError, Driver
from chrek_agent.errors import RestoreError

LOG: Final = logging.getLogger(__name__)


def freeze(driver: Driver, pids: Sequence[int], *, lock_seconds: float) -> None:
    """Moves the GPU memory of all processes to the host.

    Raises:
        CudaError: One could not be; all run as before.
    """
    locked: list[int] = []
    saved: list[int] = []
    try:
        for pid in pids:
            driver.lock(pid, lock_seconds)
            locked.append(pid)
        for pid in pids:
            driver.checkpoint(pid)
            saved.append(pid)
    except CudaError:
        _undo(driver, locked, saved)
        raise


def thaw(driver: Driver, pids: Sequence[int], gpus: Mapping[str, str]) -> None:
    """Moves all memory back and lets all processes go on.

    Raises:
        CudaError: One could not be restored. What is unlocked by then cannot be taken back: the tree must be ended.
    """
    for pid in pids:
        driver.restore(pid, gpus)
    for pid in pids:
        driver.unlock(pid)


def unfreeze(driver: Driver, pids: Sequence[int]) -> None:
    """Takes a `freeze` back, in reverse order, onto the same GPUs; a process that refuses is logged, the others go on."""
    _undo(driver, pids, pids)


def _undo(driver: Driver, locked: Sequence[int], saved: Sequence[int]) -> None:
    steps = [partial(driver.restore, pid, {}) for pid in reversed(saved)]
    steps += [partial(driver.unlock, pid) for pid in reversed(locked)]
    for step in steps:
        try:
            step()
        except CudaError as error:
            LOG.warning("a process did not get its GPUs back: %s", error)


def device_map(captured: Sequence[str], here: Sequence[str]) -> dict[str, str]:
    """UUID at capture -> UUID here: a GPU that is still there keeps its place, the others follow in order.

    Empty when all are still there: then the driver needs no map.

    Raises:
        RestoreError: There are not as many GPUs here.
    """
    if len(captured) > len(here):
        raise RestoreError(f"captured on {len(captured)} GPU(s), here there are {len(here)}")
    same = set(captured) & set(here)
    free = iter([uuid for uuid in here if uuid not in same])
    pairs = {uuid: uuid if uuid in same else next(free) for uuid in captured}
    return {} if all(old == new for old, new in pairs.items()) else pairs
