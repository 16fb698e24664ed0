"""TensorRT-LLM's trtllm-serve, unmodified.

Its /release_memory and /resume_memory work with the engine that reinforcement learning uses, and fail with the one that
trtllm-serve makes: it is captured as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters import openai
from chrek_worker.adapters.contract import Answers, Worker

PORT = 8000


def ready(worker: Worker) -> None:
    """See contract.Adapter."""
    openai.health(worker.port(PORT))


def quiesce(worker: Worker, notes: list[str]) -> dict[str, Any]:
    """See contract.Adapter."""
    notes.append("TensorRT-LLM is captured with its KV cache: trtllm-serve has no route that frees it")
    return {}


def resume(worker: Worker, state: Mapping[str, Any]) -> None:
    """See contract.Adapter. There is nothing to undo."""


def check(worker: Worker) -> Answers:
    """See contract.Adapter."""
    return openai.checked(worker, PORT, {})
