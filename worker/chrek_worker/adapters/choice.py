"""Which adapter a worker gets: what was chosen for it, what its command says, what its server says of itself, or the plain one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chrek_worker.adapters import dynamo, openai, plain, sglang, trtllm, vllm
from chrek_worker.adapters.contract import Adapter, Worker
from chrek_worker.adapters.errors import AdapterError
from kubectl_chrek.api import names

ADAPTERS: Mapping[str, Adapter] = {"vllm": vllm, "sglang": sglang, "trtllm": trtllm, "dynamo": dynamo, "plain": plain}
_PROGRAMS = {"vllm": "vllm", "sglang": "sglang", "trtllm-serve": "trtllm"}
_MODULES = {"vllm.entrypoints.": "vllm", "sglang.launch_server": "sglang", "tensorrt_llm.commands.serve": "trtllm"}
_SERVE = "serve"
# By the identity's framework: the port of its server, and whom the models belong to that it lists.
_SERVERS = {
    "vllm": (vllm.PORT, "vllm"),
    "sglang": (sglang.PORT, "sglang"),
    "trtllm": (trtllm.PORT, "tensorrt_llm"),
}


def choose(worker: Worker, wanted: str = "") -> str:
    """The adapter's name; empty when none is wanted. Raises AdapterError for a name that there is not."""
    wanted = wanted or worker.environment.get(names.ENV_ADAPTER, "")
    if wanted == names.OFF:
        return ""
    if wanted:
        if wanted not in ADAPTERS:
            raise AdapterError(f"there is no adapter {wanted!r}: give one of {', '.join(ADAPTERS)}, or {names.OFF}")
        return wanted
    return _by_command(worker.words) or _by_server(worker) or "plain"


def _by_command(words: Sequence[str]) -> str:
    for word, following in zip(words, [*words[1:], ""]):  # noqa: B905 - Python 3.9 has no strict
        if word.startswith("dynamo."):
            return "dynamo"
        for start, name in _MODULES.items():
            if word.startswith(start):
                return name
        program = word.rpartition("/")[2]
        if program in _PROGRAMS and (following == _SERVE or program.endswith(_SERVE)):
            return _PROGRAMS[program]
    return ""


def _by_server(worker: Worker) -> str:
    """A command that says nothing, such as an image's own script, may be of the engine in the identity all the same."""
    if worker.framework not in _SERVERS:
        return ""
    port, owner = _SERVERS[worker.framework]
    try:
        return worker.framework if openai.card(worker.port(port)).get("owned_by") == owner else ""
    except AdapterError:
        return ""
