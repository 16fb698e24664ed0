"""What vLLM, SGLang and TensorRT-LLM have in common: the OpenAI routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chrek_worker.adapters.contract import Answers, Worker
from chrek_worker.adapters.errors import AdapterError
from chrek_worker.adapters.http import ask, parse, succeed

PROMPT = "The capital of France is"
TOKENS = 16
COMPLETIONS = "/v1/completions"


def bearer(key: str | None) -> dict[str, str]:
    """The header of a server that wants a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def health(port: int, headers: Mapping[str, str] | None = None) -> None:
    """Raises AdapterError unless the server says that it is well."""
    succeed(ask(port, "GET", "/health", headers=headers), "GET /health")


def card(port: int, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The first model that the server lists; empty when it lists none. Raises AdapterError when nothing answers."""
    status, body = ask(port, "GET", "/v1/models", headers=headers)
    models = parse(body).get("data") if status == 200 else None
    first = models[0] if isinstance(models, list) and models else None
    return first if isinstance(first, dict) else {}


def generated(port: int, headers: Mapping[str, str] | None = None) -> Answers:
    """What the model writes on at temperature 0, and how likely it found each token; nothing where it does not complete text."""
    model = card(port, headers).get("id")
    if not isinstance(model, str):
        return {}
    request = {"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "seed": 0}
    status, body = ask(port, "POST", COMPLETIONS, {**request, "logprobs": 1}, headers=headers)
    if status >= 400:  # There are servers and settings that tell no likelihoods.
        status, body = ask(port, "POST", COMPLETIONS, request, headers=headers)
    if status >= 500:
        raise AdapterError(f"POST {COMPLETIONS}: the server answered {status}")
    return _written(body)


def _written(body: bytes) -> Answers:
    try:
        choice = parse(body)["choices"][0]
        found = {f"POST {COMPLETIONS}": str(choice["text"])}
    except (KeyError, IndexError, TypeError):
        return {}
    logprobs = choice.get("logprobs")
    likely = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    return {**found, f"logprobs of POST {COMPLETIONS}": json.dumps(likely)} if likely else found


def checked(worker: Worker, default_port: int, headers: Mapping[str, str]) -> Answers:
    """The health and a generation."""
    port = worker.port(default_port)
    health(port, headers)
    return {"GET /health": "200", **generated(port, headers)}
