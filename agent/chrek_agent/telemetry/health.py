"""A small HTTP server for Prometheus and the kubelet: /metrics, /healthz, /readyz."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from chrek_agent.telemetry.metrics import CONTENT_TYPE, Metrics
from kubectl_chrek.api.errors import UsageError

LOG: Final = logging.getLogger(__name__)
REQUEST_SECONDS: Final = 5.0
_PLAIN: Final = "text/plain; charset=utf-8"

Answer = tuple[str, str, bytes]
"""Status line, content type, body."""


@asynccontextmanager
async def serve(address: str, metrics: Metrics, unready: Callable[[], str]) -> AsyncIterator[int]:
    """Serves while the block runs; yields the port.

    Args:
        address: `host:port`; an empty host is every address, port 0 a free one.
        metrics: What /metrics shows.
        unready: Why the agent is not ready; empty when it is.

    Raises:
        UsageError: The address is no such thing, or taken.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
            status, kind, body = _answer(request.split(b"\r\n", 1)[0], metrics, unready)
            head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise UsageError(f"{address!r} is no address to listen at", hint="write it as host:port, such as 127.0.0.1:9464")
    try:
        server = await asyncio.start_server(handle, host.strip("[]") or None, int(port))
    except OSError as error:
        raise UsageError(f"cannot listen at {address}: {error.strerror or error}") from error
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def _answer(line: bytes, metrics: Metrics, unready: Callable[[], str]) -> Answer:
    method, _, rest = line.decode("latin-1").partition(" ")
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", _PLAIN, b"only GET\n"
    path = rest.split(" ")[0].split("?")[0]
    if path == "/metrics":
        return "200 OK", CONTENT_TYPE, metrics.render()
    if path == "/healthz":
        return "200 OK", _PLAIN, b"ok\n"
    if path == "/readyz":
        reason = unready()
        return ("503 Service Unavailable", _PLAIN, f"{reason}\n".encode()) if reason else ("200 OK", _PLAIN, b"ok\n")
    return "404 Not Found", _PLAIN, b"/metrics, /healthz, /readyz\n"
