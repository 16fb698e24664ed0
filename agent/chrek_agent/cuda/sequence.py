"""The order of the driver's calls over all GPU processes of a tree, and its undoing. Pure: the driver is a Protocol.

All are locked before any is checkpointed, so that none waits for a peer that is gone; all are restored before any is unlocked.
Memory moves for all processes at once, each in a thread of its own: they are on different GPUs.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

from chrek_agent.cuda.driver import BusyError, CudaError, Driver

LOG: Final = logging.getLogger(__name__)
ROUNDS: Final = 4
"""How often several processes are locked anew, once one has not come to rest."""

Told = Callable[[int, int], None]
"""Called with the number of processes that are done, and of all; one call at a time."""
Seconds = dict[int, float]
"""What the driver took for each process, by PID."""


def freeze(driver: Driver, pids: Sequence[int], *, lock_seconds: float, told: Told = lambda *_: None) -> Seconds:
    """Moves the GPU memory of all processes to the host.

    Raises:
        CudaError: One could not be; all run as before.
    """
    told(0, len(pids))
    _lock(driver, pids, lock_seconds)
    saved, errors = _side_by_side(driver.checkpoint, pids, told)
    if errors:
        _undo(driver, pids, [pid for pid in pids if pid in saved])
        raise errors[0]
    return saved


def thaw(driver: Driver, pids: Sequence[int], gpus: Mapping[str, str]) -> Seconds:
    """Moves all memory back and lets all processes go on.

    Raises:
        CudaError: One could not be restored, or unlocked. What is unlocked by then cannot be taken back: the tree must be ended.
    """
    restored, errors = _side_by_side(lambda pid: driver.restore(pid, gpus), pids)
    if errors:
        raise errors[0]
    for pid in pids:
        driver.unlock(pid)
    return restored


def unfreeze(driver: Driver, pids: Sequence[int]) -> None:
    """Takes a `freeze` back, onto the same GPUs; a process that refuses is logged, the others go on."""
    _undo(driver, pids, pids)


def _lock(driver: Driver, pids: Sequence[int], seconds: float) -> None:
    """Locks all, or none.

    A process that waits for the work of another, which is locked already, never comes to rest: then all are let go and tried again.
    """
    rounds = ROUNDS if len(pids) > 1 else 1
    for left in reversed(range(rounds)):
        locked: list[int] = []
        try:
            for pid in pids:
                driver.lock(pid, seconds / rounds)
                locked.append(pid)
        except CudaError as error:
            _undo(driver, locked, [])
            if not isinstance(error, BusyError):
                raise
            if not left:
                raise BusyError(
                    f"process {pids[len(locked)]} has not come to rest within {seconds:g} s: capture it while it is idle ({error})"
                ) from error
            LOG.info("process %d waits for another: all are let go and tried again", pids[len(locked)])
        else:
            return


def _side_by_side(
    step: Callable[[int], None], pids: Sequence[int], told: Told = lambda *_: None
) -> tuple[Seconds, list[CudaError]]:
    """Does it to all processes at once, and waits for all: seconds of those that are done, and errors, the first one first."""

    def timed(pid: int) -> float:
        begin = time.monotonic()
        step(pid)
        return round(time.monotonic() - begin, 3)

    done: Seconds = {}
    errors: list[CudaError] = []
    with ThreadPoolExecutor(max(1, len(pids)), thread_name_prefix="gpu") as pool:
        running = {pool.submit(timed, pid): pid for pid in pids}
        for future in as_completed(running):
            pid = running[future]
            try:
                done[pid] = future.result()
            except CudaError as error:
                LOG.warning("GPU process %d: %s", pid, error)
                errors.append(error)
            else:
                told(len(done), len(pids))
    return done, errors


def _undo(driver: Driver, locked: Sequence[int], saved: Sequence[int]) -> None:
    """Each error has been logged by the end; what it does not stop goes on."""
    _side_by_side(lambda pid: driver.restore(pid, {}), saved)
    for pid in reversed(locked):
        try:
            driver.unlock(pid)
        except CudaError as error:
            LOG.warning("GPU process %d: %s", pid, error)
