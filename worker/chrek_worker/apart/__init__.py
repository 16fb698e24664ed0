"""Memory that is kept apart from a capture: written once to the store, given up before the dump, loaded fast after the restore.

    from chrek_worker import apart

    with apart.weights():
        model = load()
    apart.install()

Addresses stay the same, so that CUDA graphs stay valid. What is in it comes back bit for bit, so it need not be weights; but nobody
may use it between the capture and the end of the restore. docs/worker-contract.md says the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chrek_worker import hook
from chrek_worker.apart.keeper import KEEPER

Call = Callable[[], object]


def install(*, before_capture: Call | None = None, on_restore: Call | None = None) -> bool:
    """As `hook.install`; what is apart leaves after `before_capture`, and is back before `on_restore`.

    Args:
        before_capture: To be still: when it returns, nothing may use what is apart until `on_restore` is called.
        on_restore: Called when all is back.

    Returns:
        False where nothing is to be done: this process is not captured.
    """

    def leave() -> dict[str, int]:
        if before_capture is not None:
            before_capture()
        return {"apart": vacate()}

    def come_back() -> dict[str, int]:
        loaded = occupy()
        if on_restore is not None:
            on_restore()
        return {"apart": loaded}

    return hook.install(before_capture=leave, on_restore=come_back)


@contextmanager
def weights(device: Any = None) -> Iterator[None]:
    """Everything that torch allocates on a GPU within the block, in this thread, is kept apart. Without a GPU nothing is.

    Args:
        device: The GPU, as torch names it; None for the current one.

    Raises:
        ImportError: There is no torch.
        RuntimeError: torch is older than 2.5.
    """
    pools = KEEPER.pools()
    if pools is None:
        yield
        return
    with pools.use(device):
        yield


def buffer(nbytes: int) -> memoryview:
    """Host memory that is kept apart: zeros at first, for NumPy's and torch's `frombuffer`. Raises ValueError, OSError."""
    return KEEPER.host.allocate(nbytes)


def vacate() -> int:
    """Has the agent keep what is apart, and gives the memory up; returns the bytes.

    0, and nothing is done, where no agent asks for it. `install` calls it.

    Raises:
        OSError: It could not be kept; all is still there. Also where no agent asks for it but a restore has brought GPU memory that
            the agent had loaded: the driver cannot checkpoint that.
    """
    return KEEPER.vacate()


def occupy() -> int:
    """Undoes `vacate`; returns the bytes. 0 where there is nothing to undo.

    Raises:
        OSError: It could not be had again; the process is not to go on.
    """
    return KEEPER.occupy()


def wait(seconds: float | None = None) -> bool:
    """Waits until what is apart is there, which it is but between capture and restore; False when the time is over."""
    return KEEPER.present.wait(seconds)
