"""Objects packed into bytes, and looked at again one by one."""

import marshal
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import ValidationError

    from kubectl_chrek.api.checkpoint import Checkpoint

# Those on the screen, and then some.
_LOOKED_AT: Final = 256


def pack(body: Mapping[str, Any]) -> bytes:
    """The object without `managedFields`, which nobody here looks at and which can be most of it."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return marshal.dumps({**body, "metadata": metadata})


@lru_cache(maxsize=_LOOKED_AT)
def unpack(packed: bytes) -> Mapping[str, Any]:
    """The object again."""
    body: Mapping[str, Any] = marshal.loads(packed)  # noqa: S302 - packed by ourselves, in this process
    return body


@lru_cache(maxsize=_LOOKED_AT)
def checkpoint_of(packed: bytes) -> "Checkpoint":
    """The view over it; over what can be told of it when it cannot be read, with the reason as its message."""
    # A list is shown before the models of all fields are loaded, which takes longer than reading a thousand rows.
    from pydantic import ValidationError

    from kubectl_chrek.api.checkpoint import read_checkpoint

    body = unpack(packed)
    try:
        return read_checkpoint(body)
    except ValidationError as error:
        return read_checkpoint(_readable(body, error))


def _readable(body: Mapping[str, Any], error: "ValidationError") -> Mapping[str, Any]:
    metadata = body.get("metadata") or {}
    first = error.errors()[0]
    told = ("name", "namespace", "uid", "creationTimestamp")
    kept = {key: metadata[key] for key in told if key in metadata and key not in first["loc"]}
    where = ".".join(map(str, first["loc"]))
    status = body.get("status")
    phase = status.get("phase") if isinstance(status, Mapping) else None
    message = f"This object cannot be read: {where}: {first['msg']}"
    return {"metadata": kept, "spec": body.get("spec") or {}, "status": {"phase": str(phase or ""), "message": message}}
