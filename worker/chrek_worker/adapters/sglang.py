"""SGLang's server, unmodified.

Memory is released with --enable-memory-saver only, and the weights only where --enable-weights-cpu-backup keeps them. A release in
the midst of a request ends the engine, and its health route is one: so it is paused first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters import openai
from chrek_worker.adapters.contract import Answers, Worker
from chrek_worker.adapters.errors import AdapterError
from chrek_worker.adapters.http import ask, parse, succeed

PORT = 30000


def ready(worker: Worker) -> None:
    """See contract.Adapter."""
    openai.health(worker.port(PORT))


def quiesce(worker: Worker, notes: list[str]) -> dict[str, Any]:
    """See contract.Adapter. The KV cache goes away, the weights too where a copy of them stays."""
    if not worker.flag("--enable-memory-saver"):
        notes.append("SGLang is captured with its KV cache: it has no --enable-memory-saver")
        return {}
    tags = ["kv_cache"] + (["weights"] if worker.flag("--enable-weights-cpu-backup") else [])
    _tell(worker, "/pause_generation", {})
    _tell(worker, "/release_memory_occupation", {"tags": tags})
    return {"released": tags}


def resume(worker: Worker, state: Mapping[str, Any]) -> None:
    """See contract.Adapter."""
    if state.get("released"):
        _tell(worker, "/resume_memory_occupation", {"tags": state["released"]})
        _tell(worker, "/continue_generation", {})


def check(worker: Worker) -> Answers:
    """See contract.Adapter. Its own generation route, which every model that writes has; others answer for their health."""
    port, headers = worker.port(PORT), openai.bearer(worker.option("--api-key"))
    openai.health(port)
    sampling = {"temperature": 0, "max_new_tokens": openai.TOKENS}
    status, body = ask(port, "POST", "/generate", {"text": openai.PROMPT, "sampling_params": sampling}, headers=headers)
    if status >= 500:
        raise AdapterError(f"POST /generate: the server answered {status}")
    text = parse(body).get("text")
    return {"GET /health": "200", **({"POST /generate": text} if isinstance(text, str) else {})}


def _tell(worker: Worker, path: str, body: object) -> None:
    key = worker.option("--admin-api-key") or worker.option("--api-key")
    succeed(ask(worker.port(PORT), "POST", path, body, headers=openai.bearer(key)), f"POST {path}")
