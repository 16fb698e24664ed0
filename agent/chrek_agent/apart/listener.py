"""`apart.sock` in a container's control directory, for as long as somebody is to be heard there."""

import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from chrek_agent.apart.channel import SOCKET, ApartError, Gone, Peer
from chrek_agent.container.control import directory_of
from chrek_agent.container.discovery import Container
from chrek_agent.errors import AgentError

LOG: Final = logging.getLogger(__name__)
MOST: Final = 64
"""Connections at once."""


class Listener:
    """Has each connection served in a thread of its own until it is closed, which ends all of them.

    What `serve` raises is told to the worker, and the first of it kept as `failure`.

    Raises:
        AgentError: The container has no control directory. OSError: the socket cannot be made.
    """

    def __init__(self, container: Container, serve: Callable[[Peer], None]) -> None:
        self.failure: Exception | None = None
        self._container = container
        self._serve = serve
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(container, self._socket)
            self._socket.listen(MOST)
        except BaseException:
            self._socket.close()
            raise
        self._accepting = self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections and waits for their threads; blocks as long as one of them waits for the store."""
        with self._lock:
            self._closed = True
            for connection in (self._socket, *self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._accepting.join()  # From now on there are no new ones.
        for thread in self._threads:
            thread.join()
        self._socket.close()
        with suppress(AgentError, OSError), directory_of(self._container) as directory:
            os.unlink(SOCKET, dir_fd=directory)

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, name="apart", daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                full = self._closed or len(self._open) >= MOST
                if not full:
                    self._open.add(connection)
            if full:
                connection.close()
            else:
                alive = [thread for thread in self._threads if thread.is_alive()]
                self._threads = [*alive, self._start(self._talk, connection)]

    def _talk(self, connection: socket.socket) -> None:
        peer: Peer | None = None
        try:
            peer = Peer(connection, self._container.init)
            self._serve(peer)
        except Gone:
            return
        except Exception as error:
            LOG.warning("container %s: memory apart: %s", self._container.name, error)
            if peer is not None:
                self.failure = self.failure or error
                with suppress(Gone):
                    peer.send({"error": str(error)})
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _bind(container: Container, listening: socket.socket) -> None:
    """No link is followed, neither in making the socket nor in opening it to all, whatever the container does meanwhile."""
    with directory_of(container) as directory:
        with suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=directory)
        listening.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        made = os.open(SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            if not stat.S_ISSOCK(os.fstat(made).st_mode):
                raise ApartError(f"{SOCKET} has been replaced")
            os.chmod(f"/proc/self/fd/{made}", 0o666)  # noqa: PTH101, S103 - of a descriptor; the worker may be anybody
        finally:
            os.close(made)
