"""A process of the agent's that loads one GPU's share of what is apart; chrek_agent.apart.loader is its program."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from chrek_agent.apart.channel import ApartError, close_all

LOG: Final = logging.getLogger(__name__)
COMMAND: Final = (sys.executable, "-P", "-m", "chrek_agent.apart.loader")
ALONE: Final = "GPU memory is loaded by the worker itself, which takes longer"
SILENCE: Final = 20.0
"""Seconds without a word after which a loader that has all it needs hangs; it speaks with each GiB, about."""
PATIENCE: Final = 0.5
"""Seconds that a worker waits for a loader to begin: for longer than that it loads faster by itself."""
_LOOK: Final = 0.2
_MESSAGE: Final = 1 << 16


class Loader:
    """One process, started at once. It never raises what fails: `handles` has nothing then, and the reason is logged. To be closed.

    Args:
        name: Of what it loads, for the log.
        count: How much memory it is going to make: so many handles.
        processors: Where it runs, if that matters.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, name: str, count: int, processors: Collection[int] = ()) -> None:
        self._name = name
        self._count = count
        self._began = time.monotonic()
        self._waiting_since: float | None = None
        self._ending = self._is_spent = False
        self.has_loaded = False
        """All of it was, and was what was captured; known once it is `over`."""
        self._lock = threading.Lock()
        self._handles: dict[int, int] = {}
        self._ready = threading.Event()
        self.over = threading.Event()
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _start(theirs)
        except BaseException:
            self._answers.close()
            raise
        if processors:
            with suppress(OSError):
                os.sched_setaffinity(self._process.pid, processors)
        self._thread = threading.Thread(target=self._attend, name="apart-loader", daemon=True)
        self._thread.start()

    def begin(self, order: Mapping[str, Any]) -> None:
        """What it is to make."""
        self._tell({**order, "began": self._began})

    def fill(self, content: Mapping[str, Any]) -> None:
        """What belongs into it: from now on it has no reason to be silent."""
        self._waiting_since = time.monotonic()
        self._tell(content)

    def handles(self) -> list[int]:
        """Waits until all is loaded, or it has failed: the numbers of all its memory, or of none. For whoever needs it by now."""
        if not self._ready.wait(PATIENCE):
            self.give_up("the driver was not ready for it when the worker was")
        self.over.wait()
        with self._lock:
            return list(self._handles)

    def descriptor(self, number: int) -> int:
        """A descriptor of some of its memory, which is the caller's. Raises ApartError once nobody is to need it any more."""
        with self._lock:
            if number not in self._handles:
                raise ApartError("what was loaded has been handed over already")
            return os.dup(self._handles[number])

    def give_up(self, reason: str) -> None:
        """Ends it and what it has made, because of this if it is worth telling, and waits for that."""
        with self._lock:
            first, self._ending = not self._ending, True
        if first and reason:
            LOG.warning("%s: %s: %s", self._name, ALONE, reason)
        self._process.kill()
        self._process.wait()
        self._let_go()
        self._ready.set()
        self.over.set()

    def spend(self) -> None:
        """Nobody needs it any more. It ends with `close`: until then the driver is not to be busy with that."""
        self._ending = self._is_spent = True
        self._let_go()

    def close(self) -> None:
        """Ends it for good. The end of one that nobody needs any more is not waited for: the driver takes its time over that."""
        waits = not self._is_spent
        self._ending = True
        self._process.kill()
        self._end_input()
        if waits:
            self._thread.join()
        self._let_go()
        self._answers.close()

    def _tell(self, message: Mapping[str, Any]) -> None:
        """One line; of one that died we hear otherwise."""
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()

    def _end_input(self) -> None:
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _let_go(self) -> None:
        with self._lock:
            close_all([*self._handles.values()])
            self._handles.clear()

    def _attend(self) -> None:
        try:
            while not self._hear():
                pass
        except (OSError, ValueError) as error:
            self.give_up(str(error))
        finally:
            self._ready.set()
            self.over.set()
        self._process.wait()

    def _hear(self) -> bool:
        """One message; True for the last one. Raises OSError when something has failed."""
        message, descriptors = self._received()
        if "error" in message:
            raise OSError(str(message["error"]))
        if "ready" in message:
            self._ready.set()
        if descriptors:
            self._keep(int(message["handle"]), descriptors)
        if "loaded" not in message:
            return False
        if len(self._handles) != self._count:
            raise OSError("it has not handed all over")
        self._tell_of(message)
        self.has_loaded = True
        return True

    def _received(self) -> tuple[dict[str, Any], list[int]]:
        self._answers.settimeout(_LOOK)
        heard = time.monotonic()
        while True:
            try:
                content, descriptors, flags, _ = socket.recv_fds(self._answers, _MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
                break
            except TimeoutError:
                since = self._waiting_since
                if since is not None and time.monotonic() - max(since, heard) > SILENCE:
                    raise OSError(f"it has said nothing for {SILENCE:g} s") from None
        if not content:
            raise OSError("it has ended")
        message: dict[str, Any] = json.loads(content)
        if flags & socket.MSG_CTRUNC or bool(descriptors) != ("handle" in message):
            close_all(descriptors)
            raise OSError("a descriptor was lost: there may be too many")
        return message, descriptors

    def _keep(self, number: int, descriptors: list[int]) -> None:
        with self._lock:
            if not self._ending:
                self._handles[number] = descriptors.pop()
        close_all(descriptors)

    def _tell_of(self, message: Mapping[str, Any]) -> None:
        seconds = message["seconds"]
        took = max(1e-3, seconds["loaded"] - seconds["told"])
        LOG.info(
            "%s: %.2f GiB of GPU memory loaded beside the restore at %.1f GiB/s; seconds since it began: %s",
            self._name,
            message["loaded"] / 2**30,
            message["loaded"] / 2**30 / took,
            seconds,
        )


def _start(answers: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=answers.fileno(), start_new_session=True)
