"""Completion as kubectl asks for it: a line for each candidate with its description, then a directive.

kubectl runs `kubectl_complete-chrek WORD...`, which runs `kubectl-chrek __complete WORD...`; the last word is what stands before
the cursor. Whatever goes wrong, nothing is offered and nothing is said.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from kubectl_chrek.cli import output

FILES: Final = 0
NO_FILES: Final = 4
"""Directives of kubectl's completion: offer files, or only what was listed."""
SECONDS: Final = 2.0
_CONNECTION: Final = {"-n": "namespace", "--namespace": "namespace", "--context": "context", "--kubeconfig": "kubeconfig"}
_CHOICES: Final = {
    "--dry-run": ("none", "client", "server"),
    "--only": ("job", "agent", "worker"),
    "--framework": ("vllm", "sglang", "trtllm"),
    "--backend-framework": ("vllm", "sglang", "trtllm"),
}
_LIVE: Final = {
    "--namespace": "namespaces",
    "--node": "nodes",
    "--nodes": "nodes",
    "--checkpoint": "checkpoints",
    "--graph": "graphs",
    "--context": "contexts",
}
_PATHS: Final = ("--filename", "--kubeconfig", "--pod-template", "--state")
_SHELLS: Final = ("bash", "zsh", "fish", "install")

Candidate = tuple[str, str]


def complete(group: Any, words: Sequence[str]) -> None:
    """Writes the candidates for the last word."""
    try:
        candidates, directive = _candidates(group, list(words) or [""])
    except Exception:
        candidates, directive = [], NO_FILES
    lines = [f"{value}\t{output.one_line(text)}" if text else value for value, text in candidates]
    output.write_lines([*lines, f":{directive}"])


def _candidates(group: Any, words: list[str]) -> tuple[list[Candidate], int]:
    *before, partial = words
    command, rest = _command(group, before)
    options = {name: param for param in (command or group).params for name in param.opts if name.startswith("-")}
    previous = before[-1] if before else ""
    due = options.get(previous)
    if due is not None and not due.is_flag:
        return _values(due, partial, "", before)
    name, equals, value = partial.partition("=")
    if equals and name in options:
        return _values(options[name], value, f"{name}=", before)
    if partial.startswith("-"):
        found = {opt: param.help or "" for opt, param in options.items() if opt.startswith("--") and opt.startswith(partial)}
        return sorted(found.items()), NO_FILES
    if command is None and rest:
        return [], NO_FILES
    if command is None:
        return [(name, text) for name, text in group.summaries.items() if name.startswith(partial)], NO_FILES
    return _arguments(command, rest, partial, before)


def _command(group: Any, before: Sequence[str]) -> tuple[Any, list[str]]:
    """The subcommand and the words after it; None while there is none yet, or none of that name (then with that name)."""
    flags = {name for param in group.params if param.is_flag for name in (*param.opts, *param.secondary_opts)}
    skip = False
    for index, word in enumerate(before):
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word not in flags and "=" not in word
        elif word in group.commands:
            return group.commands[word], list(before[index + 1 :])
        else:
            return None, [word]
    return None, []


def _values(option: Any, partial: str, prefix: str, before: Sequence[str]) -> tuple[list[Candidate], int]:
    """Values of an option."""
    if "--output" in option.opts:
        return [(prefix + kind, "") for kind in str(option.metavar).split("|") if kind.startswith(partial)], NO_FILES
    known = next((name for name in option.opts if name in _CHOICES or name in _LIVE or name in _PATHS), "")
    if known in _PATHS:
        return [], FILES
    values: Iterable[str] = _CHOICES[known] if known in _CHOICES else _live(_LIVE[known], before) if known else ()
    named = (value.partition("\t")[::2] for value in values)
    return [(prefix + value, text) for value, text in named if value.startswith(partial)], NO_FILES


def _arguments(command: Any, rest: Sequence[str], partial: str, before: Sequence[str]) -> tuple[list[Candidate], int]:
    metavars = [str(param.metavar) for param in command.params if param.param_type_name == "argument"]
    if command.name == "completion":
        return [(each, "") for each in _SHELLS if each.startswith(partial)], NO_FILES
    if command.name in ("hash", "import") or (command.name == "export" and rest):
        return [], FILES
    if not any("NAME" in metavar for metavar in metavars) or "--" in rest or (command.name == "copy" and rest):
        return [], NO_FILES
    named = _live("checkpoints", before)
    found = (each.partition("\t")[::2] for each in named)
    return [(name, text) for name, text in found if name.startswith(partial)], NO_FILES


def _live(what: str, before: Sequence[str]) -> list[str]:
    """Names from the cluster that the words before name."""
    import asyncio
    import logging

    chosen = {_CONNECTION[word]: value for word, value in pairwise(before) if word in _CONNECTION}
    for word in before:
        flag, equals, value = word.partition("=")
        if equals and flag in _CONNECTION:
            chosen[_CONNECTION[flag]] = value
    from kubectl_chrek.ops import offering
    from kubectl_chrek.ops.connection import ConnectionOptions

    options = ConnectionOptions(
        namespace=chosen.get("namespace", ""),
        context=chosen.get("context", ""),
        kubeconfig=chosen.get("kubeconfig", ""),
        request_seconds=SECONDS,
    )
    ask: Callable[[ConnectionOptions], Any] = getattr(offering, what)

    async def limited() -> list[str]:
        async with asyncio.timeout(SECONDS):
            found: list[str] = await ask(options)
            return found

    # The client's library logs what it also raises.
    logging.getLogger().addHandler(logging.NullHandler())
    return asyncio.run(limited())
