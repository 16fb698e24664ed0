"""Requests to a server in the same container: one connection each, closed before anything is captured."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters.errors import AdapterError

HOST = "127.0.0.1"
LIMIT = 1 << 20
"""Bytes of an answer that are read; no probe has more to say."""


def ask(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    tls: bool = False,
) -> tuple[int, bytes]:
    """The status and the body of the server's answer. Raises AdapterError when there is none."""
    connection = _connection(port, tls)
    try:
        sent = dict(headers or {}, Connection="close")
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection.request(method, path, content, sent)
        answer = connection.getresponse()
        return answer.status, answer.read(LIMIT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AdapterError(f"{method} {path} on port {port}: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def _connection(port: int, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(HOST, port)
    # As the kubelet's own probes: the certificate is for the server's name, not for this address.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(HOST, port, context=context)


def succeed(answer: tuple[int, bytes], what: str) -> bytes:
    """The body of a 2xx answer. Raises AdapterError with the status and the server's words else."""
    status, body = answer
    if not 200 <= status < 300:
        raise AdapterError(f"{what}: the server answered {status} {body[:200].decode(errors='replace')}".rstrip())
    return body


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in it; empty when it is none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
