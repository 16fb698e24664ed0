"""A program of plain torch, or transformers: what it gives to the hook, or to memory apart.

apart.install(**torch_inprocess.calls(before_capture=stop_serving, on_restore=serve_again))
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

Call = Callable[[], object]


def calls(*, before_capture: Call | None = None, on_restore: Call | None = None) -> dict[str, Call | None]:
    """The same two calls, with its GPUs idle and torch's cache given back when the first one returns.

    What is in use stays where it is, so CUDA graphs stay valid.

    Args:
        before_capture: When it returns, the program uses no GPU until `on_restore` is called.
        on_restore: As the hook's own.
    """

    def still() -> None:
        if before_capture is not None:
            before_capture()
        _empty()

    return {"before_capture": still, "on_restore": on_restore}


def _empty() -> None:
    """Memory that torch keeps for later would be copied to the host, stored, and copied back."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    gc.collect()
    for device in range(torch.cuda.device_count()):
        if torch.cuda.memory_reserved(device):  # Waiting for another one would make a context on it.
            torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
