"""`kubectl exec` without a terminal, over WebSockets."""

import asyncio
import json
from contextlib import suppress
from typing import Final, Protocol

from aiohttp import WSMsgType, web

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import ApiError, bad_request
from kubectl_chrek.local.apiserver.logs import chosen_container
from kubectl_chrek.local.apiserver.objects import Body

_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK: Final = 32 * 1024


class ExecSource(Protocol):
    """Starts a command in a container.

    Given are the pod's namespace and its whole object, the container's name and the command. The process has pipes for its three
    streams. May raise ApiError.
    """

    async def __call__(self, namespace: str, pod: Body, container: str, command: list[str]) -> asyncio.subprocess.Process:
        """The started process."""
        ...


async def run_command(source: ExecSource | None, call: Call, pod: Body, request: web.Request) -> web.WebSocketResponse:
    """Runs the command of a request until it ends; a client that leaves ends it. Raises ApiError before the upgrade."""
    container = chosen_container(call, pod)
    command = request.query.getall("command", [])
    if source is None:
        raise ApiError(501, "NotImplemented", "this API server runs no commands in containers")
    if call.flag("tty"):
        raise bad_request("this API server offers no terminal; leave out -t")
    if not command:
        raise bad_request("you must specify at least one command for the container")
    socket = web.WebSocketResponse(protocols=_PROTOCOLS)
    if not socket.can_prepare(request).ok:
        raise bad_request("commands are run over WebSockets only")
    process = await source(call.namespace, pod, container, command)
    if process.stdin is not None and not call.flag("stdin"):
        process.stdin.close()
    try:
        await socket.prepare(request)
        await _converse(socket, process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return socket


async def _converse(socket: web.WebSocketResponse, process: asyncio.subprocess.Process) -> None:
    feeding = asyncio.create_task(_feed(socket, process))
    try:
        await asyncio.gather(_forward(socket, process.stdout, _STDOUT), _forward(socket, process.stderr, _STDERR))
        status = json.dumps(_outcome(await process.wait())).encode()
        await socket.send_bytes(bytes([_STATUS]) + status)
    except ConnectionResetError:
        return
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
    await socket.close()


async def _forward(socket: web.WebSocketResponse, stream: asyncio.StreamReader | None, channel: int) -> None:
    while stream is not None and (data := await stream.read(_CHUNK)):
        await socket.send_bytes(bytes([channel]) + data)


async def _feed(socket: web.WebSocketResponse, process: asyncio.subprocess.Process) -> None:
    """Passes on what the client sends; when it leaves, the process ends."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data or process.stdin is None:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == _STDIN and not process.stdin.is_closing():
            process.stdin.write(data)
            with suppress(ConnectionResetError, BrokenPipeError):
                await process.stdin.drain()
        elif channel == _CLOSE and data == bytes([_STDIN]):
            process.stdin.close()
    with suppress(ProcessLookupError):
        process.kill()


def _outcome(code: int) -> Body:
    if code == 0:
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
