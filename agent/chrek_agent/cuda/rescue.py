"""What a killed agent leaves of a capture: a worker whose GPU memory is in host memory, locked. Another process gives it back."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from chrek_agent.container import processes
from chrek_agent.cuda.detection import DEVICES, maps_driver
from chrek_agent.cuda.driver import Bindings, CudaError, Driver
from chrek_agent.cuda.sequence import unfreeze

LOG = logging.getLogger(__name__)


def give_back(tree: Sequence[processes.Process], opened: Callable[[], Driver] = Bindings, devices: Path = DEVICES) -> None:
    """Restores and unlocks all processes of a tree that use CUDA; those that were neither saved nor locked refuse, which is right.

    The tree must run, for the driver works through the processes themselves. A saved process holds no device any more: it is
    known by its driver library. Without a GPU on this node nothing is looked at.
    """
    if not devices.exists():
        return
    candidates = [process.pid for process in tree if maps_driver(processes.PROC / str(process.pid))]
    if not candidates:
        return
    try:
        driver = opened()
        pids = [pid for pid in candidates if driver.holds(pid)]
    except CudaError as error:
        LOG.warning("the GPUs of a worker whose capture was cut short cannot be given back: %s", error)
        return
    unfreeze(driver, pids)
