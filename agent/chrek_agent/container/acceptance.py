"""The agent's half of asking a worker: made still before its capture, and tried after its restore (the shim's is chrek_worker).

What the shim answers is the container's word. It goes into the artifact as it is, and back to a shim; nothing here acts on it.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chrek_agent.container import control
from chrek_agent.container.discovery import Container
from chrek_agent.errors import AgentError, CaptureError, RestoreError
from kubectl_chrek.api import names

LOG: Final = logging.getLogger(__name__)
FILE: Final = "acceptance.json"
"""In an artifact whose worker has something to undo or to show after a restore."""
PROTOCOL: Final = 1
QUIESCE_SECONDS: Final = 300.0
"""In which an engine moves its weights to host memory that is not there yet."""
ACCEPT_SECONDS: Final = 120.0
"""In which it moves them back and answers."""
GRACE: Final = 5.0
"""What it gets to say that the time is over."""
NOTES: Final = 8
LINE: Final = 400
_PAUSE: Final = 0.01
_KINDS: Final = ("httpGet", "tcpSocket", "exec")

Record = dict[str, Any]


async def prepare(container: Container, pod: Mapping[str, Any], framework: str, *, seconds: float = QUIESCE_SECONDS) -> Record:
    """Has the worker made ready for its capture; returns what `accept` needs, empty when that is nothing.

    Raises:
        CaptureError: It is not to be captured like this, and why.
    """
    source = control.read(container, control.SOURCE)
    if source is None or source.get("start") != container.init_start or source.get("protocol") != PROTOCOL:
        return {}  # A shim of before, or no shim at all.
    annotations = pod["metadata"].get("annotations") or {}
    request = {
        "framework": framework,
        "adapter": str(annotations.get(names.ANNOTATION_ADAPTER, "")),
        "readiness": readiness(pod, container.name),
        "probe": _probe(annotations),
        "check": is_on(pod),
    }
    answer = await _ask(container, (control.QUIESCE, control.QUIESCED), request, seconds)
    if not answer.get("ok"):
        raise CaptureError(f"the worker could not be made ready for its capture: {_reason(answer)}")
    for note in _notes(answer):
        LOG.warning("pod %s/%s: %s", pod["metadata"].get("namespace", ""), pod["metadata"]["name"], note)
    record = {key: answer.get(key) for key in ("adapter", "answers", "state", "hook", "readiness", "probe")}
    if answer.get("apart"):
        record["apart"] = answer["apart"]
    return record if record["answers"] or record["state"] or record["hook"] else {}


async def accept(container: Container, record: Record, *, check: bool, seconds: float = ACCEPT_SECONDS) -> None:
    """Has the restored worker resumed, and asks it what it was asked before its capture.

    Raises:
        RestoreError: It does not answer the same.
    """
    waiting = control.read(container, control.WAITING) or {}
    if waiting.get("protocol") != PROTOCOL:
        raise RestoreError("the pod's shim is too old to resume this worker: start the pod anew", cause=names.Cause.NOT_ACCEPTED)
    answer = await _ask(container, (control.ACCEPT, control.ACCEPTED), {**record, "check": check}, seconds)
    if not answer.get("ok"):
        raise RestoreError(f"the restored worker is not well: {_reason(answer)}", cause=names.Cause.NOT_ACCEPTED)


def save(record: Mapping[str, Any], path: Path) -> None:
    """Into an artifact; nothing when there is nothing."""
    if record:
        path.write_text(json.dumps(record))


def load(path: Path) -> Record:
    """From an artifact; empty where it holds none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return content if isinstance(content, dict) else {}


def is_on(pod: Mapping[str, Any]) -> bool:
    """The pod does not say that its worker is not to be asked."""
    return (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_ACCEPTANCE) != names.OFF


def readiness(pod: Mapping[str, Any], container: str) -> Record:
    """The container's readiness probe, its port a number; empty when it has none that a shim could repeat."""
    spec: Mapping[str, Any] = next(
        (item for item in (pod.get("spec") or {}).get("containers") or [] if item["name"] == container), {}
    )
    probe = spec.get("readinessProbe") or {}
    ports = {port.get("name"): port["containerPort"] for port in spec.get("ports") or []}
    found = {kind: dict(probe[kind]) for kind in _KINDS if probe.get(kind)}
    for action in found.values():
        if "port" in action:
            action["port"] = ports.get(action["port"], action["port"])
    return found


def _probe(annotations: Mapping[str, str]) -> Record:
    text = annotations.get(names.ANNOTATION_PROBE, "")
    if not text:
        return {}
    try:
        probe = json.loads(text)
    except ValueError:
        probe = None
    if not isinstance(probe, dict) or not str(probe.get("path", "")).startswith("/"):
        raise CaptureError(
            f'annotation {names.ANNOTATION_PROBE} is no probe: give JSON such as {{"path": "/v1/embeddings", "body": {{}}}}'
        )
    return probe


async def _ask(container: Container, files: tuple[str, str], request: Record, seconds: float) -> Record:
    """The shim's answer to the request, or our own when it gives none."""
    question, reply = files
    token = secrets.token_hex(8)
    deadline = time.monotonic() + seconds + GRACE
    try:
        control.write(container, question, {**request, "id": token, "seconds": seconds})
        while time.monotonic() < deadline:
            answer = control.read(container, reply) or {}
            if answer.get("id") == token:
                return answer
            if not container.running():
                return {"reason": "the container ended"}
            await asyncio.sleep(_PAUSE)
    except (AgentError, OSError) as error:
        return {"reason": f"the control directory: {error}"}
    return {"reason": f"the shim did not answer within {seconds + GRACE:g} s"}


def _notes(answer: Record) -> list[str]:
    notes = answer.get("notes")
    return [_line(note) for note in notes[:NOTES]] if isinstance(notes, list) else []


def _reason(answer: Record) -> str:
    return _line(answer.get("reason") or "no reason given")


def _line(words: object) -> str:
    """The container's words, as one line of bearable length."""
    return " ".join(str(words).split())[:LINE]
