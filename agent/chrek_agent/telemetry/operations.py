"""What the agent does at this moment: captures and restores under way, for its ChrekNode, its metrics and its log."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from chrek_agent.telemetry.times import timestamp


class Operation:
    """One capture or restore; it is told how far it is."""

    def __init__(self, kind: str, namespace: str, checkpoint: str, pod: str) -> None:
        begin = timestamp(datetime.now(UTC))
        self._fields: dict[str, Any] = {
            "kind": kind,
            "namespace": namespace,
            "checkpoint": checkpoint,
            "pod": pod,
            "step": "",
            "bytesDone": 0,
            "bytesTotal": 0,
            "startedAt": begin,
        }

    def report(self, step: str, done: int = 0, total: int = 0) -> None:
        """Notes the step, and bytes done and expected (0: not known)."""
        self._fields |= {"step": step, "bytesDone": done, "bytesTotal": total}

    @property
    def step(self) -> str:
        """The newest step."""
        return str(self._fields["step"])

    def status(self) -> dict[str, Any]:
        """As `status.operations` lists it."""
        return dict(self._fields)


class Operations:
    """All that are under way; `changed` is set when one begins or ends."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._running: list[Operation] = []

    @contextmanager
    def running(self, kind: str, namespace: str, checkpoint: str, pod: str) -> Iterator[Operation]:
        """Lists an operation while the block runs."""
        operation = Operation(kind, namespace, checkpoint, pod)
        self._running.append(operation)
        self.changed.set()
        try:
            yield operation
        finally:
            self._running.remove(operation)
            self.changed.set()

    def status(self) -> list[dict[str, Any]]:
        """As `status.operations`."""
        return [operation.status() for operation in self._running]
