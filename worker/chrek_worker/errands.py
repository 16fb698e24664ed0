"""What the agent asks of a shim is done in a child, so that neither a hung server nor a slow one keeps signals waiting."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chrek_worker import processes
from chrek_worker.adapters.errors import AdapterError
from chrek_worker.control import ControlDirectory

PROTOCOL = 1
"""What the shim says of itself: it answers requests."""
CHUNK = 1 << 16
DEFAULT_SECONDS = 60.0

Work = Callable[[ControlDirectory, Sequence[str], Mapping[str, Any]], dict[str, Any]]


class Errands:
    """Answers the requests in one file of the control directory, each by its `id`, whatever happens.

    Args:
        control: Where they are.
        question: The file with the request, replaced for each.
        answer: The file for the answer.
        work: Does it.
        command: The worker's, for `work`.
    """

    def __init__(self, control: ControlDirectory, question: str, answer: str, work: Work, command: Sequence[str]) -> None:
        self._control = control
        self._files = (question, answer)
        self._work = work
        self._command = command
        self._asked: object = None
        self._child = 0
        self._pipe = -1
        self._received = b""
        self._deadline = 0.0
        self._done: dict[str, Any] | None = None

    def attend(self) -> None:
        """Starts, watches or ends an errand; never waits."""
        if self._child:
            self._watch()
            return
        request = self._control.read(self._files[0])
        if not request or request.get("id") == self._asked:
            return
        self._asked = request.get("id")
        if self._done is not None:
            # An agent that died and came again: what has been done must not be done twice.
            self._answer(self._done)
            return
        self._start(request)

    def _start(self, request: Mapping[str, Any]) -> None:
        seconds = request.get("seconds")
        self._deadline = time.monotonic() + (seconds if isinstance(seconds, (int, float)) else DEFAULT_SECONDS)
        self._pipe, end = os.pipe()
        self._received = b""
        # Only this thread is there, so nothing can hold a lock across the fork.
        self._child = os.fork()
        if self._child == 0:
            try:
                os.setsid()
                processes.unblock_signals()
                with os.fdopen(end, "wb") as file:
                    file.write(json.dumps(self._outcome(request)).encode())
            finally:
                os._exit(0)
        os.close(end)
        os.set_blocking(self._pipe, False)

    def _outcome(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, **self._work(self._control, self._command, request)}
        except AdapterError as error:
            return {"ok": False, "reason": str(error)}
        except Exception as error:
            return {"ok": False, "reason": f"{type(error).__name__}: {error}"}

    def _watch(self) -> None:
        late = time.monotonic() > self._deadline
        if late:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)
        try:
            received = os.read(self._pipe, CHUNK)
        except BlockingIOError:
            if not late:
                return
            received = b""
        if received:
            self._received += received
            return
        self._end(late)

    def _end(self, late: bool) -> None:
        os.close(self._pipe)
        # Whoever reads the answer must not find the child any more. Its end is here: it has closed its pipe, or was killed.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)
        self._child = 0
        try:
            found = json.loads(self._received)
        except ValueError:
            found = {"ok": False, "reason": "the server did not answer in time" if late else "the adapter ended without a word"}
        if found.get("ok"):
            self._done = found
        self._answer(found)

    def _answer(self, found: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # Such as a full disk: then the agent's own deadline counts.
            self._control.write(self._files[1], {**found, "id": self._asked})
