"""Questions to a server in a container, over TCP within its network."""

import ctypes
import http.client
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from container import Box

PORT = 8000
SECONDS = 60.0
_LIBC = ctypes.CDLL(None, use_errno=True)


def ask(box: Box, path: str, body: Any = None) -> Any:
    """The JSON of its answer; with a body by POST. Raises OSError when there is none, AssertionError when it is not 200."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=SECONDS)
    connection.sock = _connected(box)
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    log = box.log.read_text(errors="replace")[-2000:]
    assert answer.status == 200, f"{path}: the server answered {answer.status} {content.decode(errors='replace')}: {log}"
    return json.loads(content)


def _connected(box: Box) -> socket.socket:
    """A connection stays in the network in which it was made; the thread that goes there ends with this call."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def run() -> None:
        try:
            with Path(f"/proc/{box.container.init}/ns/net").open() as network:
                if _LIBC.setns(network.fileno(), 0) != 0:
                    code = ctypes.get_errno()
                    raise OSError(code, f"setns: {os.strerror(code)}")
            made.append(socket.create_connection(("127.0.0.1", PORT), timeout=SECONDS))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
