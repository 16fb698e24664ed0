"""What a PID 1 does for its children: start, signal, reap."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping

FAULTS = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT))
# Faults of our own are not passed on, and nobody can be asked to take the first two.
_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD} | FAULTS
FORWARDED = frozenset(number for number in signal.valid_signals() if number not in _KEPT)


def block_signals() -> None:
    """From now on signals wait for `next_signal`; without this a PID 1 loses those it has no handler for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})


def unblock_signals() -> None:
    """Undoes `block_signals`; runs in a child before it execs."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def restore_signals() -> None:
    """Before an exec of our own: what Python has changed is as it was, and what was held back does not reach us any more."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    unblock_signals()


def next_signal(seconds: float) -> int | None:
    """The next signal within this time, or None."""
    received = signal.sigtimedwait(FORWARDED | {signal.SIGCHLD}, seconds)
    return received.si_signo if received else None


def advance_pids(first: int) -> None:
    """Moves the PID counter of this namespace past `first`.

    A restore needs the captured PIDs to be free, and low ones are taken in every container: by us, by exec probes, by CRIU
    itself. Setting the counter takes a capability that pods do not have; threads take numbers from it and cost little.
    """
    number = threading.get_native_id()
    while number < first:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        number = thread.native_id or first
        thread.join()


def start_ticks() -> int:
    """When this process started, in clock ticks since boot: tells this container from an earlier one of the same pod."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123 - one read, no Path needed
        return int(stat.read().rpartition(")")[2].split()[19])


def spawn(command: list[str], environment: Mapping[str, str]) -> int:
    """Starts the worker in a session of its own, which CRIU wants, and returns its PID."""
    # Only this thread is left, so nothing can hold a lock across the fork.
    process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=unblock_signals)  # noqa: PLW1509
    process.returncode = 0  # We reap by waitpid(-1); this keeps Popen from warning about a child it lost.
    return process.pid


def reap(worker: int) -> int | None:
    """Collects every child that has ended; returns the worker's exit code once it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == worker:
            code = _exit_code(status)


def ended() -> int | None:
    """A child that has ended and is not collected yet."""
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found.si_pid if found is not None else None
    return None


def collect(child: int) -> None:
    """Takes note of a child's end, so that its number is free again."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def alive(pid: int) -> bool:
    """There is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send(pid: int, number: int) -> None:
    """Signals a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_all_others(seconds: float) -> None:
    """As PID 1: ends every other process in this namespace that we may end, and reaps our children among them.

    One that cannot be ended, because it is another user's or hangs in the kernel, is not waited for longer than `seconds`.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                time.sleep(0.005)
