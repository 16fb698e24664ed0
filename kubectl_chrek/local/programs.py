"""Operator and agent as the local cluster runs them: processes of their own that are started again when they end."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_RESTART_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 10.0


class Program:
    """One supervised process; `pid` is 0 while it is not running."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        self.pid = 0
        self.command = [sys.executable, "-m", module, *arguments]

    @classmethod
    @asynccontextmanager
    async def run(cls, module: str, arguments: Sequence[str], log: Path) -> AsyncIterator["Program"]:
        """Runs `python -m module` until the block is left, as often as it takes; its output is added to `log`."""
        program = cls(module, arguments, log)
        task = asyncio.create_task(program._supervise())
        try:
            yield program
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _supervise(self) -> None:
        while True:
            with self.log.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            self.pid = process.pid
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await _stop(process)
                raise
            finally:
                self.pid = 0
            _LOG.warning("%s ended with code %d; starting it again", self.command[2], code)
            await asyncio.sleep(_RESTART_SECONDS)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
