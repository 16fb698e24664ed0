"""An API server's answers and a connection's failures, turned into our errors."""

import json
import os
from typing import Final

import aiohttp

from kubectl_chrek.api.errors import ChrekError, ClusterError, ConflictError, NotFoundError, UsageError

UNREACHABLE: Final = "check the kubeconfig, --context and the network"
_HINTS: Final = {
    401: "the kubeconfig's credentials are wrong or have expired",
    403: "ask for the right with `kubectl auth can-i`",
    410: "the list changed while it was read: repeat the command",
}


def error_from_status(status: int, body: bytes) -> ChrekError:
    """The error for a failed HTTP answer; `body` is a Status object, or anything."""
    resume = ""
    try:
        answer = json.loads(body)
        reason, message = str(answer.get("reason") or status), str(answer.get("message") or "")
        resume = str((answer.get("metadata") or {}).get("continue") or "")
    except (ValueError, AttributeError):
        reason, message = str(status), body[:200].decode(errors="replace").strip()
    line = f"Error from server ({reason}): {message}"
    match status:
        case 404 if not body.lstrip().startswith(b"{"):
            # Where no kind is served the answer is plain text.
            line = "Error from server (NotFound): the server could not find the requested resource"
            return NotFoundError(line, hint="a definition is not installed here: see `kubectl chrek doctor`")
        case 404:
            return NotFoundError(line)
        case 409:
            return ConflictError(line)
        case 400 | 422:
            return UsageError(line)
        case _:
            return ClusterError(line, status=status, hint=_HINTS.get(status, ""), resume=resume)


def unreachable(server: str, error: BaseException) -> ClusterError:
    """The error for a connection that gave no answer."""
    detail = str(error) or type(error).__name__
    match error:
        case aiohttp.ClientConnectorCertificateError():
            detail = getattr(error.certificate_error, "verify_message", "") or detail
        case aiohttp.ClientConnectorError() if (error.errno or 0) > 0:
            # What the library says repeats the address and tells of its own settings.
            detail = os.strerror(error.errno or 0).lower()
        case TimeoutError():
            detail = "no answer in time"
    return ClusterError(f"Unable to connect to the server {server}: {detail}", hint=UNREACHABLE)
