"""A command that runs in a container: bytes in, bytes out, and how it ended."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp

from kubectl_chrek.api.errors import ChrekError, ClusterError
from kubectl_chrek.cluster.client import Cluster

STDIN, STDOUT, STDERR, STATUS = range(4)
PIECE: Final = 32 << 10
"""Longer messages are not passed on by every server on the way."""
_SAID: Final = 4096


class BrokenExecutionError(ClusterError):
    """The connection to the command was lost; whether it has ended is not known."""


class CommandError(ChrekError):
    """The command ended with another exit code than 0; the message is the last line that it wrote to stderr."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Execution:
    """One running command."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._said = b""

    async def write(self, data: bytes | memoryview) -> None:
        """Sends to its stdin. Raises BrokenExecutionError."""
        view = memoryview(data)
        try:
            for start in range(0, len(view), PIECE):
                await self._socket.send_bytes(bytes((STDIN,)) + bytes(view[start : start + PIECE]))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise BrokenExecutionError("the connection to the agent was lost") from error

    async def read(self) -> AsyncGenerator[bytes, None]:
        """What it writes to its stdout, until it ends.

        Raises:
            CommandError: It failed.
            BrokenExecutionError: The connection was lost first.
        """
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == STDOUT and data:
                yield data
            elif channel == STDERR:
                self._said = (self._said + data)[-_SAID:]
            elif channel == STATUS:
                self._judge(data)
                return
        raise BrokenExecutionError("the connection to the agent was lost")

    def _judge(self, data: bytes) -> None:
        try:
            status = json.loads(data)
        except ValueError:
            status = {}
        if status.get("status") == "Success":
            return
        causes = (status.get("details") or {}).get("causes") or []
        code = next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), 1)
        lines = self._said.decode(errors="replace").strip().splitlines()
        raise CommandError(code, lines[-1] if lines else str(status.get("message") or "the command failed"))


@asynccontextmanager
async def execute(cluster: Cluster, pod: str, namespace: str, container: str, command: Sequence[str]) -> AsyncIterator[Execution]:
    """Runs a command in a container; leaving the block ends it. Raises what the API server says."""
    async with cluster.execute(pod, command, namespace, container=container) as socket:
        yield Execution(socket)


async def converse(execution: Execution, pieces: AsyncIterator[bytes | memoryview]) -> bytes:
    """Sends all pieces while it reads; returns what the command wrote. Raises as `Execution.read`."""

    async def send() -> None:
        async for piece in pieces:
            await execution.write(piece)

    sending = asyncio.create_task(send())
    try:
        return b"".join([data async for data in execution.read()])
    finally:
        # A command that has ended reads no more: its own words count, not ours that were not heard.
        sending.cancel()
        with suppress(asyncio.CancelledError, BrokenExecutionError):
            await sending
