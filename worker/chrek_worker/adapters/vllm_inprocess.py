"""A vLLM engine in the worker's own process, for programs that serve without vLLM's server: what they give to the hook.

hook.install(**vllm_inprocess.calls(llm))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from chrek_worker.adapters.errors import AdapterError


def calls(engine: Any, loop: asyncio.AbstractEventLoop | None = None) -> dict[str, Callable[[], None]]:
    """`before_capture` and `on_restore` of an engine that was made with `enable_sleep_mode=True`.

    Args:
        engine: A `vllm.LLM`, which must not be generating when its capture begins; or an `AsyncLLM`, whose requests under way are
            waited for.
        loop: The loop that an AsyncLLM runs on: the hook calls from a thread of its own.
    """

    def before_capture() -> None:
        if loop is None:
            # Its engine knows no waiting where it runs in this very process.
            engine.sleep(level=1)
        else:
            _finished(engine.sleep(level=1, mode="wait"), loop)
            _communicators(engine, "checkpoint_prepare", loop)

    def on_restore() -> None:
        if loop is not None:
            _communicators(engine, "checkpoint_restore", loop)
        awake = engine.wake_up() if loop is None else _finished(engine.wake_up(), loop)
        if awake is False:
            raise AdapterError("vLLM still sleeps after wake_up()")

    return {"before_capture": before_capture, "on_restore": on_restore}


def _communicators(engine: Any, name: str, loop: asyncio.AbstractEventLoop) -> None:
    """What an AsyncLLM of vLLM 0.33 takes down for a checkpoint on several GPUs: the workspaces of FlashInfer, and not NCCL."""
    call = getattr(engine, name, None)
    if call is not None:
        _finished(call(), loop)


def _finished(call: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Any:
    return asyncio.run_coroutine_threadsafe(call, loop).result()
