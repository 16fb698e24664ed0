"""vLLM's OpenAI server, unmodified.

Sleep and pause are routes of its development mode (VLLM_SERVER_DEV_MODE=1), which opens others as well: the operator does not
switch it on. Where it is on, and the engine has --enable-sleep-mode, the weights go to host memory and the KV cache away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters import openai
from chrek_worker.adapters.contract import Answers, Worker
from chrek_worker.adapters.errors import AdapterError
from chrek_worker.adapters.http import ask, parse, succeed

PORT = 8000
SLEEP = "/sleep?level=1&mode=wait"
PAUSE = "/pause?mode=wait"


def ready(worker: Worker) -> None:
    """See contract.Adapter."""
    openai.health(worker.port(PORT))


def quiesce(worker: Worker, notes: list[str]) -> dict[str, Any]:
    """See contract.Adapter. Sleeps where it may, else pauses where it may, else goes on as it is."""
    port = worker.port(PORT)
    status, body = ask(port, "GET", "/is_sleeping")
    if status == 404:
        notes.append("vLLM is captured awake, its KV cache with it: its development routes are off (VLLM_SERVER_DEV_MODE)")
        return {}
    if parse(body).get("is_sleeping") is True:
        return {"sleeping": True}
    if worker.flag("--enable-sleep-mode"):
        succeed(ask(port, "POST", SLEEP), f"POST {SLEEP}")
        return {"sleeping": True}
    notes.append("vLLM is captured awake, its KV cache with it: it has no --enable-sleep-mode")
    status, body = ask(port, "POST", PAUSE)
    if status == 404:
        return {}
    succeed((status, body), f"POST {PAUSE}")
    return {"paused": True}


def resume(worker: Worker, state: Mapping[str, Any]) -> None:
    """See contract.Adapter. Waking up resumes the scheduler as well."""
    port = worker.port(PORT)
    if state.get("sleeping"):
        succeed(ask(port, "POST", "/wake_up"), "POST /wake_up")
        if parse(succeed(ask(port, "GET", "/is_sleeping"), "GET /is_sleeping")).get("is_sleeping") is not False:
            raise AdapterError("vLLM still sleeps after POST /wake_up")
    elif state.get("paused"):
        succeed(ask(port, "POST", "/resume"), "POST /resume")


def check(worker: Worker) -> Answers:
    """See contract.Adapter."""
    return openai.checked(worker, PORT, _headers(worker))


def _headers(worker: Worker) -> dict[str, str]:
    return openai.bearer(worker.option("--api-key") or worker.environment.get("VLLM_API_KEY"))
