"""The forms in which objects leave: whole, as metadata alone, as a Table."""

from collections.abc import Iterable
from typing import Final, Literal

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import ApiError
from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body, without
from kubectl_chrek.local.apiserver.tables import partial, table

Form = Literal["object", "table", "partial"]
_JSON: Final = ("application/json", "application/*", "*/*", "application/yaml", "")


def form(accept: str) -> Form:
    """The first form in an Accept header that can be served. Raises ApiError (406) when there is none."""
    for clause in accept.split(","):
        media, *parameters = [part.strip() for part in clause.split(";")]
        if media not in _JSON:
            continue
        if "as=Table" in parameters and "v=v1" in parameters:
            return "table"
        if any(part.startswith("as=PartialObjectMetadata") for part in parameters):
            return "partial"
        if not any(part.startswith("as=") for part in parameters):
            return "object"
    message = "only the following media types are accepted: application/json, application/yaml"
    raise ApiError(406, "NotAcceptable", message)


def version_of(kind: Kind, body: Body) -> Body:
    """The object in the version that was asked for."""
    return body if body.get("apiVersion") == kind.api_version else body | {"apiVersion": kind.api_version}


def one(call: Call, body: Body) -> Body:
    """One object as the caller wants it."""
    wanted = form(call.accept)
    if wanted == "table":
        metadata = {"resourceVersion": body["metadata"].get("resourceVersion", "")}
        return table(call.kind, [body], metadata, include=_include(call))
    return partial(body) if wanted == "partial" else version_of(call.kind, body)


def many(call: Call, items: Iterable[Body], metadata: Body) -> Body:
    """A list as the caller wants it; items of built-in kinds carry neither kind nor apiVersion, as on a real server."""
    wanted, kind = form(call.accept), call.kind
    if wanted == "table":
        return table(kind, items, metadata, include=_include(call))
    if wanted == "partial":
        found = [partial(item) for item in items]
        return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": found}
    found = [version_of(kind, item) if kind.custom else without(item, "kind", "apiVersion") for item in items]
    return {"kind": kind.many, "apiVersion": kind.api_version, "metadata": metadata, "items": found}


def event(call: Call, type_: str, body: Body, *, headed: bool) -> Body:
    """One event of a watch as the caller wants it."""
    wanted = form(call.accept)
    if type_ == "BOOKMARK" or wanted == "object":
        shown = version_of(call.kind, body)
    elif wanted == "partial":
        shown = partial(body)
    else:
        metadata = {"resourceVersion": body["metadata"]["resourceVersion"]}
        shown = table(call.kind, [body], metadata, include=_include(call), headed=headed)
    return {"type": type_, "object": shown}


def _include(call: Call) -> str:
    return call.query.get("includeObject", "") or "Metadata"
