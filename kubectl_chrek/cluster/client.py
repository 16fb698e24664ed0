"""A thin asynchronous client: one method per verb, raw dicts, no models.

Credentials come from the `kubernetes` package (kubeconfig in all its forms, or the pod's service account).
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException
from multidict import CIMultiDict

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, ClusterError
from kubectl_chrek.cluster.credentials import Overrides, load
from kubectl_chrek.cluster.errors import error_from_status, unreachable
from kubectl_chrek.cluster.resources import Resource

Body = dict[str, Any]
Bodies = list[Body]
Reader = Callable[[bytes], Any]
PatchType = Literal["merge", "strategic", "json", "apply"]

REQUEST_SECONDS: Final = 30.0
PAGE_SIZE: Final = 500
WATCH_SECONDS: Final = 300
FOLLOW_SECONDS: Final = 86400.0
EXEC_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
EXEC_HEARTBEAT_SECONDS: Final = 30.0
_PATCH_TYPES: Final[dict[PatchType, str]] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Event(NamedTuple):
    """One change seen by a watch. `SYNCED` (object empty) closes the first list; `DELETED` carries the last state."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
    object: Body


class Cluster:
    """A connection to one API server.

    All methods raise NotFoundError, ConflictError, UsageError (the server calls the object invalid) or ClusterError.
    """

    def __init__(self, configuration: Configuration, namespace: str = "default") -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self.namespace = namespace
        self.server = str(configuration.host)
        self.request_seconds = REQUEST_SECONDS
        self._headers: CIMultiDict[str] = CIMultiDict()

    @property
    def configuration(self) -> Configuration:
        """The credentials in use, for other clients of the same server."""
        return self._configuration

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        overrides: Overrides = Overrides(),  # noqa: B008 - it is frozen
    ) -> AsyncIterator["Cluster"]:
        """Opens a connection by kubeconfig (argument, KUBECONFIG, ~/.kube/config), else as a pod.

        Args:
            kubeconfig: Path of a kubeconfig.
            context: Context in it; default its current one.
            namespace: Becomes `cluster.namespace`; default the context's.
            overrides: What wins over the kubeconfig.

        Raises:
            ClusterError: There are no usable credentials.
        """
        configuration = Configuration()
        try:
            home = await load(configuration, kubeconfig, context, overrides)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            hint = "set KUBECONFIG or --kubeconfig, or run in a pod"
            raise ClusterError(f"no usable cluster configuration: {error}", hint=hint) from error
        cluster = cls(configuration, namespace or home)
        cluster._headers = overrides.headers
        try:
            yield cluster
        finally:
            await cluster._rest.close()

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Body:
        """One object; `namespace` defaults to the connection's, for this and all methods below."""
        return await self._json("GET", resource.path(self._in(namespace), name))

    async def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Bodies:
        """All objects that match the selectors; `namespace=""` means all namespaces. Each has its kind and apiVersion."""
        return (await self._list(resource, self._in(namespace), labels, fields))[0]

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        size: int = PAGE_SIZE,
        read: Reader = json.loads,
    ) -> AsyncGenerator[Bodies, None]:
        """As list, but at most `size` objects at a time (0: all at once), so that nobody need hold them all.

        `read` makes a list of the server's JSON, with as much of each object as is wanted; ValueError if it is none. Whoever
        takes longer than the server remembers the list gets the rest of it as it is by then.
        """
        asked = self._pages(resource, self._in(namespace), labels, fields, size, read, resume=True)
        async with aclosing(asked) as pages:
            async for items, _ in pages:
                yield items

    async def create(
        self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None, *, dry_run: bool = False
    ) -> Body:
        """Creates the object; ConflictError if it exists."""
        return await self._json("POST", resource.path(self._in(namespace)), body, query=_query(dry_run))

    async def replace(self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None) -> Body:
        """PUT; with a resourceVersion in it, ConflictError if the object has changed since."""
        return await self._json("PUT", resource.path(self._in(namespace), body["metadata"]["name"]), body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: object,
        namespace: str | None = None,
        *,
        type: PatchType = "merge",  # noqa: A002 - the API's own word
        subresource: str = "",
        dry_run: bool = False,
    ) -> Body:
        """Patches the object or, with `subresource="status"`, its status. For `type="apply"` the patch is the whole object."""
        query = _query(dry_run)
        if type == "apply":
            query |= {"fieldManager": names.MANAGER, "force": "true"}
        path = resource.path(self._in(namespace), name, subresource)
        return await self._json("PATCH", path, patch, content_type=_PATCH_TYPES[type], query=query)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> Body:
        """Deletes the object in the background; with `uid`, only that very object (ConflictError otherwise).

        `grace_seconds` is for pods: how long they may take to end; None means what the pod itself says.
        """
        options: Body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            # With options in the body the server reads none from the query: there it would really delete.
            options["dryRun"] = ["All"]
        return await self._json("DELETE", resource.path(self._in(namespace), name), options)

    async def logs(self, pod: str, namespace: str | None = None, *, container: str = "", tail: int = 0) -> str:
        """A container's log so far; `tail` limits it to the last lines."""
        path = Resource("v1", "Pod", "pods").path(self._in(namespace), pod, "log")
        query = {"container": container} if container else {}
        if tail:
            query["tailLines"] = str(tail)
        return (await self._request("GET", path, query=query)).decode(errors="replace")

    async def log_lines(
        self, pod: str, namespace: str | None = None, *, container: str = "", tail: int = 0, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        """A container's log line by line, each behind its RFC 3339 time and a space; with `follow` until the container ends."""
        path = Resource("v1", "Pod", "pods").path(self._in(namespace), pod, "log")
        query = {"timestamps": "true"} | ({"container": container} if container else {})
        query |= ({"tailLines": str(tail)} if tail else {}) | ({"follow": "true"} if follow else {})
        response = await self._open("GET", path, query=query, seconds=FOLLOW_SECONDS if follow else 0.0)
        rest = b""
        try:
            async with response:
                async for piece in response.content.iter_any():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        yield line.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(self.server, error) from error
        if rest:
            yield rest.decode(errors="replace")

    @asynccontextmanager
    async def execute(
        self, pod: str, command: Sequence[str], namespace: str | None = None, *, container: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to a command that runs in a container, with its three streams; leaving it ends the command."""
        path = Resource("v1", "Pod", "pods").path(self._in(namespace), pod, "exec")
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        url = f"{self.server.rstrip('/')}{path}?{urlencode([*query, *(('command', word) for word in command)])}"
        headers = await self._authorised()
        options: Body = {"headers": headers, "protocols": EXEC_PROTOCOLS, "max_msg_size": 0, "heartbeat": EXEC_HEARTBEAT_SECONDS}
        if self._rest.proxy:
            options |= {"proxy": self._rest.proxy, "proxy_headers": self._rest.proxy_headers}
        if self._rest.pool_manager is None:  # As the client does at its first request.
            self._rest.pool_manager = self._rest._create_pool_manager()
        try:
            socket: aiohttp.ClientWebSocketResponse = await self._rest.pool_manager.ws_connect(url, **options)
        except aiohttp.WSServerHandshakeError as error:
            raise error_from_status(error.status, error.message.encode()) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(self.server, error) from error
        try:
            yield socket
        finally:
            await socket.close()

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        remember: Callable[[Body], Body] = lambda body: body,
    ) -> AsyncGenerator[Event, None]:
        """All present objects as ADDED, then SYNCED, then every change, for ever.

        A watch that ends is resumed; one that is too old (410) is listed anew: what vanished meanwhile comes as DELETED, what
        is there as MODIFIED. Raises only when a list fails. `remember` says how much of an object is kept for the case that it
        vanishes: by default all of it.
        """
        known: dict[str, Body] = {}
        version = ""
        # What is there first comes as it is read: nobody has to hold all of it at once.
        async with aclosing(self._pages(resource, self._in(namespace), labels, fields, PAGE_SIZE)) as pages:
            async for page, current in pages:
                version = current
                for item in page:
                    uid = item["metadata"]["uid"]
                    yield Event("MODIFIED" if uid in known else "ADDED", item)
                    known[uid] = remember(item)
        yield Event("SYNCED", {})
        while True:
            async with aclosing(self._changes(resource, self._in(namespace), labels, fields, version)) as changes:
                async for event in changes:
                    uid = event.object["metadata"]["uid"]
                    if event.type == "DELETED":
                        known.pop(uid, None)
                    else:
                        known[uid] = remember(event.object)
                    yield event
            await asyncio.sleep(0.2)
            found, version = await self._list(resource, self._in(namespace), labels, fields)
            now = {item["metadata"]["uid"]: item for item in found}
            for uid in known.keys() - now.keys():
                yield Event("DELETED", known[uid])
            for uid, item in now.items():
                yield Event("MODIFIED" if uid in known else "ADDED", item)
            known = {uid: remember(item) for uid, item in now.items()}

    async def version(self) -> str:
        """The server's gitVersion."""
        return str((await self._json("GET", "/version")).get("gitVersion", "unknown"))

    async def server_time(self) -> datetime | None:
        """The server's clock, to the second; None when its answers carry no date."""
        response = await self._open("GET", "/version")
        async with response:
            date = response.headers.get("Date")
        return parsedate_to_datetime(date) if date else None

    # -- below: one request ------------------------------------------------------------------------------------------------------

    def _in(self, namespace: str | None) -> str:
        return self.namespace if namespace is None else namespace

    async def _list(self, resource: Resource, namespace: str, labels: str, fields: str) -> tuple[Bodies, str]:
        items: Bodies = []
        version = ""
        async for page, current in self._pages(resource, namespace, labels, fields, PAGE_SIZE):
            items += page
            version = current
        return items, version

    async def _pages(
        self,
        resource: Resource,
        namespace: str,
        labels: str,
        fields: str,
        size: int,
        read: Reader = json.loads,
        *,
        resume: bool = False,
    ) -> AsyncGenerator[tuple[Bodies, str], None]:
        """The objects piece by piece, each with the list's resourceVersion; there is at least one piece.

        With `resume` a list that the server has forgotten goes on with what is behind the last piece now; else it is an error.
        """
        query = _selectors(labels, fields) | ({"limit": str(size)} if size else {})
        path = resource.path(namespace)

        def ask(token: str) -> asyncio.Task[bytes]:
            return asyncio.ensure_future(self._request("GET", path, query=query | ({"continue": token} if token else {})))

        due = ask("")
        resumed = not resume
        try:
            while True:
                try:
                    page = self._object(await due, path, read)
                except ClusterError as error:
                    if resumed or not error.resume:
                        raise
                    due, resumed = ask(error.resume), True
                    continue
                resumed = not resume
                items = [{"apiVersion": resource.api_version, "kind": resource.kind} | item for item in page.get("items") or []]
                metadata = page.get("metadata", {})
                if metadata.get("continue"):
                    # The server is at the next piece while this one is being read.
                    due = ask(metadata["continue"])
                    await asyncio.sleep(0)
                yield items, str(metadata.get("resourceVersion", ""))
                if not metadata.get("continue"):
                    return
        finally:
            due.cancel()
            await asyncio.gather(due, return_exceptions=True)

    async def _changes(
        self, resource: Resource, namespace: str, labels: str, fields: str, version: str
    ) -> AsyncGenerator[Event, None]:
        """Changes after `version`; ends when a new list is due."""
        while True:
            query = _selectors(labels, fields) | {
                "watch": "true",
                "resourceVersion": version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_SECONDS),
            }
            try:
                response = await self._open("GET", resource.path(namespace), query=query, seconds=WATCH_SECONDS + 30)
                async with response:
                    async for line in response.content:
                        change = json.loads(line)
                        if change["type"] == "ERROR":
                            return
                        version = change["object"]["metadata"]["resourceVersion"]
                        if change["type"] != "BOOKMARK":
                            yield Event(change["type"], change["object"])
            except (aiohttp.ClientError, TimeoutError, ValueError, ChrekError):
                return

    async def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Body:
        return self._object(await self._request(method, path, body, content_type=content_type, query=query), path)

    def _object(self, text: bytes, path: str, read: Reader = json.loads) -> Body:
        try:
            answer = read(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            hint = "something else answers at this address: check the kubeconfig"
            raise ClusterError(f"the server {self.server} answered {path} with no object", hint=hint)
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        response = await self._open(method, path, body, content_type=content_type, query=query)
        try:
            async with response:
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(self.server, error) from error

    async def _open(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        seconds: float = 0.0,
    ) -> aiohttp.ClientResponse:
        url = self.server.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        headers = await self._authorised()
        headers.update({"Accept": "application/json", "Content-Type": content_type})
        clock = asyncio.get_running_loop().time
        patience = clock() + self.request_seconds
        while True:
            try:
                limit = seconds or self.request_seconds
                answer = await self._rest.request(method, url, headers=headers, body=body, _request_timeout=limit)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise unreachable(self.server, error) from error
            response: aiohttp.ClientResponse = answer.response
            if response.status < 300:
                return response
            async with response:
                text = await response.read()
            pause = _pause(response)
            if pause is None or clock() + pause > patience:
                raise error_from_status(response.status, text)
            await asyncio.sleep(pause)

    async def _authorised(self) -> CIMultiDict[str]:
        headers = self._headers.copy()
        token = (await self._configuration.auth_settings()).get("BearerToken")
        if token:
            headers[token["key"]] = str(token["value"])
        return headers


def _pause(response: aiohttp.ClientResponse) -> float | None:
    """Seconds after which a server that has not looked at the request wants to be asked again; None: that was its answer."""
    after = response.headers.get("Retry-After", "")
    return float(after) if after.isdecimal() and (response.status == 429 or response.status >= 500) else None


def _query(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
