"""The server itself: TLS, tokens, and the way from a URL to an answer."""

import asyncio
import hmac
import json
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.certificates import issue, server_context
from kubectl_chrek.local.apiserver.collector import Collector
from kubectl_chrek.local.apiserver.documents import document
from kubectl_chrek.local.apiserver.engine import Engine
from kubectl_chrek.local.apiserver.execution import ExecSource, run_command
from kubectl_chrek.local.apiserver.failures import ApiError, UnknownPageError
from kubectl_chrek.local.apiserver.kinds import CUSTOM_RESOURCES, NAMESPACES, PODS
from kubectl_chrek.local.apiserver.kubeconfig import write_kubeconfig
from kubectl_chrek.local.apiserver.logs import LogSource, read_log
from kubectl_chrek.local.apiserver.objects import Body, clone
from kubectl_chrek.local.apiserver.paths import parse
from kubectl_chrek.local.apiserver.registry import Registry
from kubectl_chrek.local.apiserver.resources import Resources
from kubectl_chrek.local.apiserver.store import Store

_NAMESPACES: Final = ("default", "kube-system")
_HEALTH: Final = ("healthz", "livez", "readyz")
_LARGEST_BODY: Final = 8 * 1024 * 1024
_log: Final = logging.getLogger(__name__)
_INTERNAL: Final[Body] = ApiError(500, "InternalError", "an error in the embedded API server; its log says which").status
_UNAUTHORIZED: Final[Body] = ApiError(401, "Unauthorized", "Unauthorized").status


class ApiServer:
    """A Kubernetes API server in this process, on a port of its own of 127.0.0.1, with everything in memory."""

    def __init__(self, directory: Path) -> None:
        self.kubeconfig = directory / "kubeconfig"
        self.url = ""
        self.logs: LogSource | None = None
        """Where the logs of pods come from; None: all are empty."""
        self.exec: ExecSource | None = None
        """What runs commands in containers; None: nothing does."""
        self._directory = directory
        self._token = secrets.token_urlsafe(32)
        self._store = Store()
        self._registry = Registry()
        self._engine = Engine(self._store, self._registry)
        self._resources = Resources(self._engine, self._token)
        self._collector = Collector(self._engine)

    @classmethod
    @asynccontextmanager
    async def start(cls, directory: Path, crds: Sequence[dict[str, Any]] = ()) -> AsyncIterator["ApiServer"]:
        """Serves until the block ends.

        Args:
            directory: Gets the kubeconfig and the server's key; must exist.
            crds: CustomResourceDefinitions to begin with.

        Raises:
            ApiError: One of the definitions is refused.
        """
        server = cls(directory)
        for name in _NAMESPACES:
            server._engine.create(Call(NAMESPACES), {"metadata": {"name": name}})
        for definition in crds:
            server._engine.create(Call(CUSTOM_RESOURCES), clone(dict(definition)))
        async with server._listen():
            collecting = asyncio.create_task(server._collector.run())
            try:
                yield server
            finally:
                collecting.cancel()
                with suppress(asyncio.CancelledError):
                    await collecting

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        credentials = issue()
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(credentials, self._directory))
            await site.start()
            port = runner.addresses[0][1]
            self.url = f"https://127.0.0.1:{port}"
            write_kubeconfig(self.kubeconfig, self.url, credentials.authority, self._token)
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return _json(401, _UNAUTHORIZED)
        try:
            if path in _HEALTH:
                return web.Response(text="ok")
            found = document(self._registry, path, request.headers.get("Accept", ""))
            if found is not None:
                return _json(200, *found)
            return await self._resource(request)
        except ApiError as error:
            return _refusal(error)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            _log.exception("%s %s failed", request.method, request.path_qs)
            return _json(500, _INTERNAL)

    async def _resource(self, request: web.Request) -> web.StreamResponse:
        place = parse(request.path)
        if place is None:
            raise UnknownPageError
        call = self._resources.call(place, dict(request.query), request.headers.get("Accept", ""))
        if request.method == "GET" and call.flag("watch") and not call.subresource:
            return await _stream(request, _lines(self._resources.watch(call)), "application/json")
        if call.kind.resource == PODS.resource and call.subresource == "log":
            pieces = read_log(self.logs, call, self._resources.stored(call))
            return await _stream(request, pieces, "text/plain", patience=1.0)
        if call.kind.resource == PODS.resource and call.subresource == "exec":
            return await run_command(self.exec, call, self._resources.stored(call), request)
        status, body = await self._resources.answer(request.method, call, request)
        response = _json(status, body)
        for text in call.warnings:
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.add("Warning", f'299 - "{escaped}"')
        return response


async def _stream(
    request: web.Request, pieces: AsyncIterator[bytes], content_type: str, *, patience: float = 0
) -> web.StreamResponse:
    """Sends pieces as they come; an ApiError within `patience` seconds and before the first becomes the answer instead."""
    first = asyncio.ensure_future(anext(pieces, b""))
    response = web.StreamResponse(headers={"Content-Type": content_type})
    try:
        done, _ = await asyncio.wait([first], timeout=patience)
        if done:
            first.result()
        await response.prepare(request)
        await response.write(await first)
        async for piece in pieces:
            await response.write(piece)
    except ConnectionResetError:
        return response
    finally:
        first.cancel()
    return response


async def _lines(events: AsyncIterator[Body]) -> AsyncIterator[bytes]:
    async for event in events:
        yield json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _refusal(error: ApiError) -> web.Response:
    if isinstance(error, UnknownPageError):
        return web.Response(status=error.code, text=f"{error}\n")
    return _json(error.code, error.status)


def _json(status: int, body: Body, content_type: str = "application/json") -> web.Response:
    data = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=status, body=data, headers={"Content-Type": content_type})
