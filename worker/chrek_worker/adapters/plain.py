"""Any server at all: it is what its readiness probe says, asked from inside its container."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters.contract import Answers, Worker
from chrek_worker.adapters.errors import AdapterError
from chrek_worker.adapters.http import HOST, ask
from kubectl_chrek.api import names


def ready(worker: Worker) -> None:
    """See contract.Adapter."""
    check(worker)


def quiesce(worker: Worker, notes: list[str]) -> dict[str, Any]:
    """See contract.Adapter. Nobody knows what to ask for."""
    return {}


def resume(worker: Worker, state: Mapping[str, Any]) -> None:
    """See contract.Adapter. There is nothing to undo."""


def check(worker: Worker) -> Answers:
    """See contract.Adapter. The answer's words may tell of the time or the pod, so its kind alone counts.

    The probe's own timeout does not: what has just been restored may be slow once, and our caller has a deadline.
    """
    http, tcp, command = (worker.readiness.get(kind) or {} for kind in ("httpGet", "tcpSocket", "exec"))
    if isinstance(http.get("port"), int):
        return _http(http)
    if isinstance(tcp.get("port"), int):
        return _tcp(tcp["port"])
    words = command.get("command") or []
    # Our own stand-in for a probe waits for a file that a restored worker removes.
    if words and names.READY_FILE not in words:
        return _command([str(word) for word in words])
    return {}


def _http(probe: Mapping[str, Any]) -> Answers:
    path, port = str(probe.get("path") or "/"), probe["port"]
    headers = {str(header["name"]): str(header["value"]) for header in probe.get("httpHeaders") or []}
    tls = str(probe.get("scheme", "")).upper() == "HTTPS"
    status, _ = ask(port, "GET", path, headers=headers, tls=tls)
    if not 200 <= status < 400:
        raise AdapterError(f"GET {path} on port {port}: the server answered {status}")
    return {f"GET {path} on port {port}": "well"}


def _tcp(port: int) -> Answers:
    try:
        socket.create_connection((HOST, port)).close()
    except OSError as error:
        raise AdapterError(f"TCP port {port}: {error}") from error
    return {f"TCP port {port}": "open"}


def _command(words: list[str]) -> Answers:
    try:
        code = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
    except OSError as error:
        raise AdapterError(f"{words[0]}: {error}") from error
    if code != 0:
        raise AdapterError(f"{words[0]} ended with {code}")
    return {f"exec {words[0]}": "0"}
