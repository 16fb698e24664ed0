"""A writer over a client that wants an iterator: a thread uploads what is written, and ends when the writer does."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from chrek_agent.store.chunking import Buffer

_QUEUED: Final = 2
"""Pieces between the writer and its thread."""
_LOOK_SECONDS: Final = 0.2

Upload = Callable[[Iterator[Buffer]], None]
"""Uploads all pieces; leaves nothing when the iterator raises."""


class _Aborted(Exception):  # noqa: N818 - it ends an upload from inside
    """The writer wants no more."""


class _Channel:
    """What a writer and its thread share."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED)
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def run(self, upload: Upload) -> None:
        """The thread."""
        try:
            upload(self._received())
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()

    def send(self, piece: bytes | BaseException | None) -> None:
        """Waits for room, unless the upload has ended."""
        while not self._ended.is_set():
            with suppress(queue.Full):
                self._pieces.put(piece, timeout=_LOOK_SECONDS)
                return

    def abort(self) -> None:
        """Ends the upload without a result; does not wait for that."""
        self.send(_Aborted())

    def wait(self) -> None:
        """Until the upload has ended."""
        self._ended.wait()

    def raise_failure(self) -> None:
        """Raises what the upload failed with, if it has."""
        if self._failure is not None:
            raise self._failure

    def _received(self) -> Iterator[Buffer]:
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class UploadWriter:
    """A backend's writer. One that is dropped unfinished aborts its upload."""

    def __init__(self, upload: Upload) -> None:
        self._channel = _Channel()
        threading.Thread(target=self._channel.run, args=(upload,), daemon=True, name="upload").start()
        self._abort = weakref.finalize(self, self._channel.abort)

    def write(self, *pieces: Buffer) -> None:
        """Waits while too much is on its way."""
        for piece in pieces:
            if len(piece):
                self._channel.send(bytes(piece))
        self._channel.raise_failure()

    def close(self) -> None:
        """Completes the upload."""
        self._abort.detach()
        self._channel.send(None)
        self._channel.wait()
        self._channel.raise_failure()

    def abort(self) -> None:
        """Waits until the upload is gone."""
        if self._abort.alive:
            self._abort()
            self._channel.wait()
