"""Lists, in pages."""

import base64
import json

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.presenting import many
from kubectl_chrek.local.apiserver.selecting import Test, selector
from kubectl_chrek.local.apiserver.store import Store


def selects(call: Call) -> Test:
    """The call's selectors, and its name if it has one."""
    test = selector(call.kind, call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""))
    return lambda body: (not call.name or body["metadata"]["name"] == call.name) and test(body)


def listing(store: Store, call: Call) -> Body:
    """A list, or one page of it. Raises ApiError."""
    test = selects(call)
    found = [body for body in store.objects(call.kind.resource, call.namespace) if test(body)]
    version, after = _token(call.query.get("continue", ""))
    metadata: Body = {"resourceVersion": str(version or store.version)}
    if after:
        found = [body for body in found if _place(body) > after]
    limit = call.number("limit")
    if limit and len(found) > limit:
        page, rest = found[:limit], len(found) - limit
        token = json.dumps({"rv": version or store.version, "after": _place(page[-1])})
        metadata["continue"] = base64.urlsafe_b64encode(token.encode()).decode()
        if not call.query.get("labelSelector") and not call.query.get("fieldSelector"):
            metadata["remainingItemCount"] = rest
        found = page
    return many(call, found, metadata)


def _place(body: Body) -> list[str]:
    return [body["metadata"].get("namespace", ""), body["metadata"]["name"]]


def _token(text: str) -> tuple[int, list[str]]:
    if not text:
        return 0, []
    try:
        found = json.loads(base64.urlsafe_b64decode(text))
        return int(found["rv"]), list(found["after"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request("continue key is not valid") from error
