"""Dynamo's own workers keep the protocol by themselves: they sleep before they say that they are ready, and wake when restored.

Those that its guide was written for know our files, later ones those in chrek_worker.snapshot. One that was not told that it is to
be captured starts as without checkpoints, and is captured like any server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters.contract import Answers, Worker


def ready(worker: Worker) -> None:
    """See contract.Adapter. The ready file has said so."""


def quiesce(worker: Worker, notes: list[str]) -> dict[str, Any]:
    """See contract.Adapter. It sleeps already."""
    return {}


def resume(worker: Worker, state: Mapping[str, Any]) -> None:
    """See contract.Adapter. It wakes up by itself."""


def check(worker: Worker) -> Answers:
    """See contract.Adapter. It serves no HTTP of its own, and joins its runtime after the restore only."""
    return {}
