"""The pods that made a checkpoint or ask for it, as rows of a table."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.ops.formatting import human_age, human_seconds
from kubectl_chrek.tui.plain import clean
from kubectl_chrek.tui.views.phases import result_of
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

POD_COLUMNS: Final = (
    Column("name", "POD", least=22, rank=0, keep_end=True),
    Column("role", "ROLE", least=6, rank=4),
    Column("ready", "READY", least=5, rank=6),
    Column("status", "STATUS", least=12, rank=2),
    Column("start", "START", least=10, rank=1),
    Column("seconds", "SECONDS", least=7, rank=3, right=True),
    Column("node", "NODE", least=8, rank=8, keep_end=True),
    Column("age", "AGE", least=5, rank=5, right=True),
    Column("why", "WHY", least=10, rank=7),
)
_DASH: Final = Cell("-", Tone.MUTED)
_STATUS_TONES: Final = {
    "Running": Tone.GOOD,
    "Succeeded": Tone.MUTED,
    "Completed": Tone.MUTED,
    "Pending": Tone.BUSY,
    "ContainerCreating": Tone.BUSY,
    "Terminating": Tone.WARNING,
}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the tab shows it. `why` is the agent's reason for a cold start; `seconds` how long the start took."""

    key: str
    name: str
    role: str
    ready: str
    status: str
    result: str
    why: str
    seconds: float
    node: str
    created: datetime | None
    body: Mapping[str, Any]

    @property
    def source(self) -> bool:
        """It is, or was, there to be captured."""
        return self.role == "source"


def read_pod(body: Mapping[str, Any]) -> Pod:
    """The view of a raw pod."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    role = "source" if labels.get(names.LABEL_SOURCE) == "true" else "target" if labels.get(names.LABEL_RESTORE) == "true" else "-"
    startup = read_startup((metadata.get("annotations") or {}).get(names.ANNOTATION_STARTUP, ""))
    containers = status.get("containerStatuses") or []
    ready = sum(1 for container in containers if container.get("ready"))
    seconds = startup.get("seconds")
    return Pod(
        key=metadata["uid"],
        name=clean(metadata["name"]),
        role=role,
        ready=f"{ready}/{len((body.get('spec') or {}).get('containers') or containers)}",
        status=clean(_status(metadata, status)),
        result=clean(startup.get("result") or ""),
        why=clean(startup.get("reason") or ""),
        seconds=float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0,
        node=clean((body.get("spec") or {}).get("nodeName") or ""),
        created=_time(metadata.get("creationTimestamp")),
        body=body,
    )


def read_startup(text: str) -> Mapping[str, Any]:
    """The agent's annotation; anyone can write it, so whatever is no JSON object is told as such."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, Mapping) else {"result": "unreadable", "reason": f"not a JSON object: {text}"}


def pod_cells(pod: Pod, now: datetime) -> tuple[Cell, ...]:
    """The cells of all columns."""
    return (
        Cell(pod.name),
        Cell(pod.role) if pod.role != "-" else _DASH,
        Cell(pod.ready),
        Cell(pod.status, _STATUS_TONES.get(pod.status, Tone.BAD)),
        result_of(pod.result),
        Cell(human_seconds(pod.seconds)) if pod.seconds > 0 else _DASH,
        Cell(pod.node) if pod.node else _DASH,
        Cell(human_age(pod.created, now), Tone.MUTED),
        Cell(pod.why) if pod.why else _DASH,
    )


def _status(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """The one word that kubectl prints: a container's trouble before the pod's phase."""
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for state in (container.get("state") or {} for container in statuses):
        for kind in ("waiting", "terminated"):
            reason = (state.get(kind) or {}).get("reason")
            if reason and not (kind == "terminated" and reason == "Completed" and status.get("phase") == "Running"):
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
