"""Threads that work a list off, each with a buffer of its own."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from chrek_agent.memory.buffer import chunk_buffer

Item = TypeVar("Item")
Result = TypeVar("Result")

REMOTE_THREADS: Final = 8
"""For a store that is not on this machine: it is read ahead, but answers may have to be waited for."""
_MOST: Final = 8


def default_threads() -> int:
    """Two more than there are processors, for those that wait for a disk; beyond 8 the interpreter's lock is the limit."""
    return min(_MOST, len(os.sched_getaffinity(0)) + 2)


class Stopped(Exception):  # noqa: N818 - it is no error: whoever stops it knows why
    """The work was stopped from outside."""


def work_off(items: Iterable[Item], work: Callable[[Item, memoryview], None], *, threads: int, stop: threading.Event) -> None:
    """Calls `work` for each item, with a page-aligned buffer of one chunk that no other thread uses meanwhile; blocks.

    The first error ends all of it and is raised.

    Raises:
        Stopped: `stop` was set.
    """
    source = iter(items)
    turn = threading.Lock()
    failed = threading.Event()

    def run() -> None:
        buffer = chunk_buffer()
        while not failed.is_set() and not stop.is_set():
            with turn:
                try:
                    item = next(source)
                except StopIteration:
                    return
                except BaseException:
                    failed.set()
                    raise
            try:
                work(item, buffer)
            except BaseException:
                failed.set()
                raise

    with ThreadPoolExecutor(threads, thread_name_prefix="memory") as pool:
        futures = [pool.submit(run) for _ in range(threads)]
    for future in futures:
        future.result()
    if stop.is_set():
        raise Stopped


async def interruptible(work: Callable[[threading.Event], Result]) -> Result:
    """Runs `work` in a thread; when we are cancelled its event is set, and its end is waited for."""
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        with suppress(BaseException):
            await task
        raise
