"""The verbs of resources over HTTP."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import yaml
from aiohttp import web

from kubectl_chrek.local.apiserver.admission import Admission
from kubectl_chrek.local.apiserver.admission.configuration import Operation
from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.deletion import delete
from kubectl_chrek.local.apiserver.engine import Engine
from kubectl_chrek.local.apiserver.failures import (
    UnknownPageError,
    bad_request,
    method_not_allowed,
    unknown_path,
    unsupported_media_type,
)
from kubectl_chrek.local.apiserver.objects import Body, clone
from kubectl_chrek.local.apiserver.options import check_read, check_write, delete_options
from kubectl_chrek.local.apiserver.paths import Place
from kubectl_chrek.local.apiserver.presenting import one
from kubectl_chrek.local.apiserver.protobuf import MEDIA_TYPE, decode
from kubectl_chrek.local.apiserver.reading import listing, selects
from kubectl_chrek.local.apiserver.reviews import review
from kubectl_chrek.local.apiserver.watching import Watch
from kubectl_chrek.local.apiserver.writing import Writer, read_scale

_RETURNED: Final = frozenset(("pods", "services", "serviceaccounts", "persistentvolumeclaims"))
_BODIES: Final = ("application/json", "application/yaml", MEDIA_TYPE)
_SUCCESS: Final[Body] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

Answer = tuple[int, Body]


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: timestamps stay strings."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Resources:
    """Answers requests for resources. Every method raises ApiError."""

    def __init__(self, engine: Engine, token: str) -> None:
        self._engine = engine
        self._writer = Writer(engine)
        self._admission = Admission(engine.store)
        self._token = token

    def call(self, place: Place, query: Mapping[str, str], accept: str) -> Call:
        """The call that a path and a query make."""
        kind = self._engine.registry.find(place.group, place.version, place.plural)
        if kind is None and not self._engine.registry.built_in(place.group, place.version):
            raise UnknownPageError
        if kind is None or (place.subresource and place.subresource not in kind.subresources):
            raise unknown_path()
        if place.namespace and not kind.namespaced:
            raise unknown_path()
        return Call(kind, place.namespace, place.name, place.subresource, query, accept)

    def stored(self, call: Call) -> Body:
        """The object that a call names."""
        return self._engine.get(call)

    def watch(self, call: Call) -> AsyncIterator[Body]:
        """The events that a call asks for."""
        check_read(call)
        return Watch(self._engine.store, call).events()

    async def answer(self, method: str, call: Call, request: web.BaseRequest) -> Answer:
        """Status and body of anything but watches, logs and exec."""
        kind = call.kind
        if kind.creates_only:
            if method != "POST":
                raise method_not_allowed()
            return 201, review(kind, await _read(request), self._token)
        if method == "GET":
            return 200, self._get(call)
        verbs = {"DELETE": self._delete, "POST": self._post, "PUT": self._put, "PATCH": self._patch}
        if method not in verbs or (method in ("PUT", "PATCH") and not _names_one(call)):
            raise method_not_allowed()
        if method != "DELETE":
            check_write(method, call)
        return await verbs[method](call, request)

    def _get(self, call: Call) -> Body:
        if not call.name:
            check_read(call)
            return listing(self._engine.store, call)
        if call.subresource not in ("", "status", "scale"):
            raise method_not_allowed()
        found = self._engine.get(call)
        return read_scale(found) if call.subresource == "scale" else one(call, found)

    async def _post(self, call: Call, request: web.BaseRequest) -> Answer:
        body = await _read(request)
        if call.subresource in ("binding", "eviction"):
            act: Callable[[Call, Body], None] = self._writer.bind if call.subresource == "binding" else self._writer.evict
            act(call, body)
            return 201, _SUCCESS | {"code": 201}
        if call.name or (call.kind.namespaced and not call.namespace):
            raise method_not_allowed()
        return 201, one(call, await self._admitted(call, "CREATE", lambda each: self._engine.create(each, clone(body))))

    async def _put(self, call: Call, request: web.BaseRequest) -> Answer:
        body = await _read(request)
        if call.subresource == "scale":
            return 200, self._writer.scale(call, lambda _: body)

        def put(each: Call) -> Body:
            return self._engine.update(each, lambda _: clone(body), conditional=True)

        return 200, one(call, await self._admitted(call, "UPDATE", put))

    async def _patch(self, call: Call, request: web.BaseRequest) -> Answer:
        patch = _parse(await request.read())
        if call.subresource == "scale":
            return 200, self._writer.scale_patch(call, request.content_type, patch)
        created = False

        def change(each: Call) -> Body:
            nonlocal created
            found, created = self._writer.patch(each, request.content_type, clone(patch))
            return found

        exists = self._engine.store.get(call.kind.resource, call.namespace, call.name) is not None
        found = await self._admitted(call, "UPDATE" if exists else "CREATE", change)
        return (201 if created else 200), one(call, found)

    async def _admitted(self, call: Call, operation: Operation, perform: Callable[[Call], Body]) -> Body:
        """The write, as admission webhooks let it through."""
        if not self._admission.wanted(call, operation):
            return perform(call)
        return await self._admission.write(call, operation, perform)

    async def _delete(self, call: Call, request: web.BaseRequest) -> Answer:
        if call.subresource:
            raise method_not_allowed()
        data = await request.read()
        options = decode(data) if request.content_type == MEDIA_TYPE else _parse(data) if data.strip() else {}
        options = delete_options(call, options)
        call = replace(call, query={**call.query, "dryRun": "".join(options.get("dryRun") or ())})
        if call.name:
            await self._permit(call)
            return 200, self._delete_one(call, options)
        if call.kind.namespaced and not call.namespace:
            raise method_not_allowed()
        test = selects(call)
        found = [body for body in self._engine.store.objects(call.kind.resource, call.namespace) if test(body)]
        answer = listing(self._engine.store, call)
        for body in found:
            each = replace(call, name=body["metadata"]["name"])
            await self._permit(each)
            delete(self._engine, each, options)
        return 200, answer

    async def _permit(self, call: Call) -> None:
        """Asks the webhooks about a deletion."""
        if self._admission.wanted(call, "DELETE"):
            self._engine.get(call)
            await self._admission.delete(call)

    def _delete_one(self, call: Call, options: Body) -> Body:
        body, gone = delete(self._engine, call, options)
        if not gone or call.kind.resource in _RETURNED:
            return one(call, body)
        kind = call.kind
        details = {"name": call.name, "group": kind.group, "kind": kind.plural, "uid": body["metadata"]["uid"]}
        return _SUCCESS | {"details": {key: value for key, value in details.items() if value}}


def _names_one(call: Call) -> bool:
    return bool(call.name) and (bool(call.namespace) or not call.kind.namespaced)


async def _read(request: web.BaseRequest) -> Body:
    if request.content_type not in (*_BODIES, "application/octet-stream"):
        raise unsupported_media_type(_BODIES)
    data = await request.read()
    body = decode(data) if request.content_type == MEDIA_TYPE else _parse(data)
    if not isinstance(body, dict):
        raise bad_request("the request body is no object")
    return body


def _parse(data: bytes) -> Any:
    """JSON, or else YAML."""
    try:
        return json.loads(data)
    except ValueError:
        try:
            return yaml.load(data, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
        except yaml.YAMLError as error:
            raise bad_request(f"error decoding the request body: {error}") from error
