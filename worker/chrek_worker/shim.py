"""PID 1 of a worker's container.

In a source it starts the worker, waits for the end of the capture and ends the worker. In every other pod it waits to be
restored, with deadlines; then it is the parent of the restored tree, or execs the original command. Cold start always wins.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from chrek_worker import preload, processes, snapshot
from chrek_worker.control import (
    ACCEPT,
    ACCEPTED,
    CLAIM,
    COLD,
    HOOK,
    HUSH,
    HUSHED,
    OUTCOME,
    QUIESCE,
    QUIESCED,
    REFRESHED,
    RESTORED,
    SOURCE,
    WAITING,
    ControlDirectory,
)
from chrek_worker.errands import PROTOCOL, Errands
from kubectl_chrek.api import names

FIRST_PID = 1000
POLL_SECONDS = 0.01
SOURCE_POLL_SECONDS = 0.1
LEAVE_SECONDS = 2.5  # Dynamo's own workers look for the end of the capture, once a second at most, and leave by themselves.
KILL_SECONDS = 10.0
FAULT_SECONDS = 10.0
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def main(argv: list[str]) -> int:
    """Runs until the worker has ended; returns its exit code (128 + N when signal N ended it)."""
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        say("no command given: usage: chrek_worker.pyz -- COMMAND [ARG...]")
        return 2
    processes.block_signals()
    signal_file = os.environ.get(names.ENV_SIGNAL_FILE, "")
    if signal_file:
        return run_source(command, Path(signal_file))
    return run_target(command)


def run_source(command: list[str], signal_file: Path) -> int:
    """The pod that is captured: the worker is our child, so that CRIU can dump it without its PID 1."""
    control = ControlDirectory(str(signal_file.parent))
    control.clear(signal_file.name, QUIESCE, QUIESCED, HOOK, HUSH, HUSHED, REFRESHED, *snapshot.FILES)
    for variable in (names.ENV_READY_FILE, names.ENV_MARKER_FILE):
        stale = os.environ.get(variable, "")
        if stale and os.path.lexists(stale):
            Path(stale).unlink()
    processes.advance_pids(FIRST_PID)
    try:
        worker = processes.spawn(command, preload.added(os.environ))
    except OSError as error:
        say(f"cannot start {command[0]}: {error.strerror}")
        return 127
    errands = Errands(control, QUIESCE, QUIESCED, _prepare, command)
    with contextlib.suppress(OSError):  # Then it is captured as it is.
        control.write(SOURCE, _present())
    while True:
        received = processes.next_signal(SOURCE_POLL_SECONDS)
        if received not in (None, signal.SIGCHLD):
            processes.send(worker, received)
        errands.attend()
        snapshot.pass_on_readiness(control, os.environ.get(names.ENV_READY_FILE, ""))
        code = processes.reap(worker)
        done = control.read(signal_file.name)
        if done is not None:
            return _end_source(control, worker, code, done)
        if code is not None:
            say(f"the worker exited with code {code} before it was captured")
            return code or 1


def _end_source(control: ControlDirectory, worker: int, code: int | None, done: dict[str, object]) -> int:
    """The capture has ended: lets the worker leave by itself, else ends it. A failed capture fails the pod, so the Job retries."""
    success = bool(done.get("success"))
    if success:
        snapshot.say_captured(control)
    else:
        say(f"capture failed: {done.get('error', 'no reason given')}")
    for number, seconds in (
        (None, LEAVE_SECONDS if success else 0.0),
        (signal.SIGTERM, KILL_SECONDS),
        (signal.SIGKILL, KILL_SECONDS),
    ):
        if code is not None:
            break
        if number is not None:
            processes.send(worker, number)
        code = _wait_end(worker, seconds)
    return 0 if success else 1


def _wait_end(worker: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while True:
        code = processes.reap(worker)
        left = deadline - time.monotonic()
        if code is not None or left <= 0:
            return code
        processes.next_signal(min(left, SOURCE_POLL_SECONDS))


def run_target(command: list[str]) -> int:
    """Any other pod: restored by the agent, or started cold."""
    if os.getpid() != 1:
        start_cold(command, "the shim is not PID 1: shareProcessNamespace cannot be restored into")
    control = ControlDirectory(os.environ.get(names.ENV_CONTROL_DIR, names.CONTROL_DIR))
    try:
        control.clear(CLAIM, OUTCOME, ACCEPT, ACCEPTED, HOOK, HUSH, HUSHED, REFRESHED, *snapshot.FILES)
        snapshot.say_restored(control, os.environ)
        control.write(WAITING, _present())
    except OSError as error:
        start_cold(command, f"the control directory {control.path} is not usable: {error.strerror}")
    outcome = _wait_outcome(control, Errands(control, ACCEPT, ACCEPTED, _accept, command))
    if outcome.get("result") != RESTORED:
        if control.read(CLAIM) is not None:
            processes.kill_all_others(KILL_SECONDS)
        start_cold(command, str(outcome.get("reason") or "no reason given"))
    say(f"restored from checkpoint {(control.read(CLAIM) or {}).get('checkpoint', 'of unknown name')}")
    return _be_parent(int(outcome["pid"]), command)  # type: ignore[call-overload]


def _prepare(control: ControlDirectory, command: Sequence[str], request: Mapping[str, Any]) -> dict[str, Any]:
    # Imported in the child that needs it: a shim must say quickly that it waits.
    from chrek_worker import acceptance

    return acceptance.prepare(control, command, request)


def _accept(control: ControlDirectory, command: Sequence[str], request: Mapping[str, Any]) -> dict[str, Any]:
    from chrek_worker import acceptance

    return acceptance.accept(control, command, request)


def _present() -> dict[str, object]:
    return {"start": processes.start_ticks(), "protocol": PROTOCOL}


def _wait_outcome(control: ControlDirectory, errands: Errands) -> dict[str, object]:
    """Waits for the agent's word; past a deadline our own word counts, unless the agent was first."""
    claim_seconds = _seconds(names.ENV_CLAIM_SECONDS, 30.0)
    restore_seconds = _seconds(names.ENV_RESTORE_SECONDS, 600.0)
    claimed = False
    limit, deadline = claim_seconds, time.monotonic() + claim_seconds
    while True:
        errands.attend()
        child = processes.ended()
        outcome = control.read(OUTCOME)
        if outcome is not None:
            return outcome
        if child is not None:
            # It was of a restore that has been given up, or has not stood the test; the next one needs its number.
            processes.collect(child)
        if not claimed and control.read(CLAIM) is not None:
            claimed, limit, deadline = True, restore_seconds, time.monotonic() + restore_seconds
            # While the agent restores there is time for what its last question needs.
            importlib.import_module("chrek_worker.acceptance")
        if time.monotonic() > deadline:
            what = "the restore did not finish" if claimed else "no agent answered"
            ours: dict[str, object] = {"result": COLD, "reason": f"{what} within {limit:g} s"}
            try:
                control.decide(ours)
            except OSError:
                return ours  # Such as a full disk, on which the agent can decide nothing either.
            continue
        received = processes.next_signal(POLL_SECONDS)
        if received in STOPPING:
            with contextlib.suppress(OSError):
                control.decide({"result": COLD, "reason": "the pod is being stopped"})
            sys.exit(128 + received)


def _be_parent(worker: int, command: list[str]) -> int:
    """CRIU's tree has become ours, as orphans of this namespace do: signals go down, the exit code comes up.

    A worker that a fault ends at once was not restored well: then the original command is started after all.
    """
    begin = time.monotonic()
    stopping = False
    while True:
        received = processes.next_signal(1.0)
        if received not in (None, signal.SIGCHLD):
            processes.send(worker, received)
            stopping = stopping or received in STOPPING
        code = processes.reap(worker)
        if code is not None:
            seconds = time.monotonic() - begin
            if code - 128 in processes.FAULTS and not stopping and seconds < FAULT_SECONDS:
                processes.kill_all_others(KILL_SECONDS)
                start_cold(command, f"the restored worker was ended by signal {code - 128} within {seconds:.1f} s")
            return code
        if not processes.alive(worker):
            say(f"the restored worker (PID {worker}) is gone")
            return 1


def start_cold(command: list[str], reason: str) -> NoReturn:
    """Becomes the original command, as if we had never been there."""
    say(f"{names.FALLBACK}: {reason}")
    processes.restore_signals()
    for variable in (names.ENV_READY_FILE, names.ENV_SNAPSHOT_DIR):
        # Either makes a Dynamo worker of some release sleep and wait for its capture, which nobody has in mind here.
        os.environ.pop(variable, None)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the worker is the point
    except OSError as error:
        say(f"cannot start {command[0]}: {error.strerror}")
        sys.exit(127)


def say(line: str) -> None:
    """One line to the container's log."""
    sys.stderr.write(f"chrek: {line}\n")
    sys.stderr.flush()


def _seconds(variable: str, default: float) -> float:
    try:
        return float(os.environ.get(variable, "") or default)
    except ValueError:
        return default
