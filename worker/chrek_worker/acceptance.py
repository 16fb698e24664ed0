"""What the agent may ask of a shim: to make its worker ready for the capture, and whether a restored one is well.

Both run in a child of the shim, which ends it at the deadline. Request and answer are JSON; see docs/worker-contract.md.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chrek_worker.adapters.choice import ADAPTERS, choose
from chrek_worker.adapters.contract import Answers, Worker
from chrek_worker.adapters.errors import AdapterError
from chrek_worker.adapters.http import ask, succeed
from chrek_worker.control import HOOK, HUSH, HUSHED, REFRESHED, ControlDirectory

PAUSE = 0.005
SHOWN = 60
"""Characters of an answer that a reason quotes."""
HOOK_SHARE = 0.9
"""Of the seconds given: how many a worker's own hook may take."""
READY_SECONDS = 5.0
"""How long a restored server may answer that it is not well; one that is slow has until the deadline of the whole."""

Request = Mapping[str, Any]


def prepare(control: ControlDirectory, command: Sequence[str], request: Request) -> dict[str, Any]:
    """Records what the server answers, then makes it small and still.

    Raises:
        AdapterError: It must not be captured like this.
    """
    worker, probe, notes = _worker(command, request), request.get("probe") or {}, list[str]()
    name = choose(worker, str(request.get("adapter") or ""))
    answers: Answers = {}
    state: dict[str, Any] = {}
    reachable = bool(name) and _reachable(name, worker, notes)
    if request.get("check"):
        answers = _repeatable(name, worker, notes) if reachable else {}
        answers.update(_probed(worker, probe))
    if reachable:
        state = ADAPTERS[name].quiesce(worker, notes)
    hooks, apart = _hooks(control), 0
    quiescing = [end for end, hook in hooks.items() if hook.get("quiesces")]
    if quiescing:
        control.write(HUSH, {})
        apart = sum(said.get("apart", 0) for said in _wait_hooks(control, HUSHED, quiescing, request))
    found = {"adapter": name, "answers": answers, "state": state, "hook": list(hooks), "apart": apart, "notes": notes}
    return {**found, "readiness": dict(worker.readiness), "probe": dict(probe)}


def accept(control: ControlDirectory, command: Sequence[str], request: Request) -> dict[str, Any]:
    """Lets the restored server go on, and compares what it answers with what was recorded.

    Raises:
        AdapterError: It is not well.
    """
    worker, name = _worker(command, request), str(request.get("adapter") or "")
    recorded: Answers = dict(request.get("answers") or {})
    hooks = request.get("hook") or []
    _wait_hooks(control, REFRESHED, hooks if isinstance(hooks, list) else [""], request)
    if name:
        ADAPTERS[name].resume(worker, request.get("state") or {})
    if not (request.get("check") and recorded):
        return {}
    if name:
        _wait_ready(name, worker)
    compare(recorded, {**(ADAPTERS[name].check(worker) if name else {}), **_probed(worker, request.get("probe") or {})})
    return {}


def compare(recorded: Answers, now: Answers) -> None:
    """Raises AdapterError when something is answered otherwise than before the capture."""
    for what, before in recorded.items():
        after = now.get(what)
        if after != before:
            shown = "nothing" if after is None else repr(after[:SHOWN])
            raise AdapterError(f"{what}: the restored worker answers {shown}, before the capture it was {before[:SHOWN]!r}")


def _worker(command: Sequence[str], request: Request) -> Worker:
    return Worker(command, str(request.get("framework") or ""), request.get("readiness") or {})


def _reachable(name: str, worker: Worker, notes: list[str]) -> bool:
    """Nothing has been changed yet, and the pod is Ready: a server on another address than ours is captured as it is."""
    try:
        ADAPTERS[name].ready(worker)
    except AdapterError as error:
        notes.append(f"the worker is captured as it is, and not asked after a restore: {error}")
        return False
    return True


def _repeatable(name: str, worker: Worker, notes: list[str]) -> Answers:
    """What the server says twice in the same way."""
    first, second = ADAPTERS[name].check(worker), ADAPTERS[name].check(worker)
    same = {what: answer for what, answer in first.items() if second.get(what) == answer}
    if same != first:
        differing = ", ".join(sorted(first.keys() - same.keys()))
        notes.append(f"{differing}: the answer differs from one time to the next, so a restored worker is not asked for it")
    return same


def _probed(worker: Worker, probe: Mapping[str, Any]) -> Answers:
    """The answer to the request that the pod's annotation gives; a long one is known by its digest."""
    if not probe:
        return {}
    path, port = str(probe.get("path") or "/"), probe.get("port")
    method = "POST" if "body" in probe else "GET"
    body = succeed(ask(port if isinstance(port, int) else worker.port(8000), method, path, probe.get("body")), f"{method} {path}")
    text = body.decode(errors="backslashreplace")
    return {f"{method} {path}": text if len(text) <= 1024 else hashlib.sha256(body).hexdigest()}


def _wait_ready(name: str, worker: Worker) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            ADAPTERS[name].ready(worker)
            break
        except AdapterError:
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def _hooks(control: ControlDirectory) -> dict[str, dict[str, Any]]:
    """What each of the worker's processes with a hook has said of itself, but for those that have ended."""
    return {end: hook for end, hook in control.of_processes(HOOK).items() if Path("/proc", str(hook.get("pid", "self"))).exists()}


def _wait_hooks(control: ControlDirectory, name: str, ends: Sequence[str], request: Request) -> list[Mapping[str, Any]]:
    """What each of these hooks says once it has done what is asked; it may load weights. Raises AdapterError with its reason."""
    deadline = time.monotonic() + HOOK_SHARE * float(request.get("seconds") or 0)
    found: list[Mapping[str, Any]] = []
    for end in ends:
        while (said := control.read(f"{name}{end}")) is None:
            if time.monotonic() > deadline:
                raise AdapterError("the worker's hook did not answer in time")
            time.sleep(PAUSE)
        if not said.get("ok"):
            raise AdapterError(f"the worker's hook: {said.get('reason') or 'no reason given'}")
        found.append(said)
    return found
