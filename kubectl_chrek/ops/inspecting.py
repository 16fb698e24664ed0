"""`inspect`: what lies in a checkpoint's artifact, as its record tells: processes, memory, GPUs, what it depends on. Pure."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from kubectl_chrek.api.checkpoint import Artifact, CapturedProcess, Checkpoint, Inventory
from kubectl_chrek.api.compatibility import Compatibility, Gpu
from kubectl_chrek.api.errors import NotReadyError
from kubectl_chrek.ops.formatting import UNKNOWN, human_bytes, plural

_FEATURES_SHOWN = 8
_WIDTH = 96


def record(checkpoint: Checkpoint) -> dict[str, Any]:
    """All of it, for -o json and yaml.

    Raises:
        NotReadyError: There is no artifact.
    """
    artifact = _artifact(checkpoint)
    return {
        "name": checkpoint.metadata.name,
        "namespace": checkpoint.metadata.namespace,
        "location": checkpoint.status.location,
        "artifact": artifact.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def tree(checkpoint: Checkpoint) -> list[str]:
    """The same as lines for a person.

    Raises:
        NotReadyError: There is no artifact.
    """
    artifact = _artifact(checkpoint)
    branches: list[tuple[str, list[str]]] = [
        (f"Artifact {artifact.generation}", _sizes(checkpoint, artifact)),
        *_held(artifact),
        ("Depends on", _depends(artifact.compatibility)),
    ]
    lines = [f"{checkpoint.metadata.namespace}/{checkpoint.metadata.name}"]
    for number, (title, leaves) in enumerate(branches):
        last = number == len(branches) - 1
        lines.append(f"{'└──' if last else '├──'} {title}")
        lines += [f"{'   ' if last else '│  '} {mark} {leaf}" for mark, leaf in _marked(leaves or [UNKNOWN])]
    return lines


def _artifact(checkpoint: Checkpoint) -> Artifact:
    if checkpoint.status.artifact is None:
        raise NotReadyError(f"checkpoint {checkpoint.metadata.name} is {checkpoint.phase}: there is no artifact to inspect")
    return checkpoint.status.artifact


def _marked(leaves: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(["├──"] * (len(leaves) - 1) + ["└──"], leaves, strict=True)


def _sizes(checkpoint: Checkpoint, artifact: Artifact) -> list[str]:
    leaves = [f"{human_bytes(artifact.bytes)} in {artifact.files} files"]
    if artifact.stored_bytes is not None:
        leaves.append(f"{human_bytes(artifact.stored_bytes)} added to the store")
    if artifact.unique_bytes is not None:
        leaves.append(f"{human_bytes(artifact.unique_bytes)} of its own, would return")
    leaves.append(f"at {checkpoint.status.location or UNKNOWN} ({checkpoint.status.storage_type or UNKNOWN})")
    leaves.append(f"digest {artifact.digest or UNKNOWN}")
    return leaves


def _held(artifact: Artifact) -> list[tuple[str, list[str]]]:
    """What the processes held; without an inventory, who they were."""
    found = artifact.inventory
    if found is None or not found.process_count:
        return [(f"Processes ({len(artifact.processes)})", _processes(artifact.processes))]
    threads = {process.pid: process.threads for process in artifact.processes}
    lines = []
    for each in found.processes:
        running = plural(threads[each.pid], "thread") if each.pid in threads else ""
        told = (running, human_bytes(sum(each.resident.values())), plural(each.files, "file"))
        lines.append(_cut(f"{each.pid} under {each.parent}: {', '.join(filter(None, told))}: {each.command}"))
    opened = ", ".join(f"{count} {kind}" for kind, count in found.open_files.items())
    return [
        (f"Processes ({found.process_count})", lines + _more(found, "processes")),
        ("Memory", [f"{kind}: {text}" for kind, text in (("resident", _kinds(found.resident)), ("mapped", _kinds(found.mapped)))]),
        (f"Open files ({sum(found.open_files.values())})", [opened or "none", *map(_cut, found.files), *_more(found, "files")]),
        ("Sockets", [*map(_cut, found.sockets), *_more(found, "sockets")] or ["none"]),
        ("Variables", [*_wrapped(found.variables), *_more(found, "variables")] or ["none"]),
    ]


def _kinds(sizes: dict[str, int]) -> str:
    return ", ".join(f"{human_bytes(size)} {kind}" for kind, size in sizes.items()) or UNKNOWN


def _more(found: Inventory, name: str) -> list[str]:
    count = found.omitted.get(name, 0)
    return [f"and {count} more, which the artifact's inspect.json lists"] if count else []


def _wrapped(words: Sequence[str]) -> list[str]:
    return textwrap.wrap(" ".join(words), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _processes(processes: Sequence[CapturedProcess]) -> list[str]:
    ordered = sorted(processes, key=lambda process: process.pid)
    return [f"{each.pid} {each.name}: {plural(each.threads, 'thread')}, {human_bytes(each.bytes)}" for each in ordered]


def _depends(facts: Compatibility) -> list[str]:
    flags = " ".join(f"{name}={value}" for name, value in sorted((facts.env_flags or {}).items()))
    pairs = (
        ("architecture", facts.architecture),
        ("CPU features", _features(facts.cpu_features)),
        ("kernel", facts.kernel),
        ("CRIU", facts.criu),
        ("driver", facts.driver),
        ("CUDA", facts.cuda),
        ("GPUs", None if facts.gpus is None else _gpus(facts.gpus)),
        ("memory", None if facts.memory_bytes is None else human_bytes(facts.memory_bytes)),
        ("image", facts.image_digest),
        ("command", None if facts.argv is None else " ".join(facts.argv)),
        ("environment", flags or None),
        ("mounts", None if facts.mounts is None else " ".join(facts.mounts) or "none"),
    )
    return [f"{label}: {_cut(value)}" for label, value in pairs if value is not None]


def _features(found: list[str] | None) -> str | None:
    if found is None:
        return None
    more = len(found) - _FEATURES_SHOWN
    return " ".join(found[:_FEATURES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _gpus(gpus: Sequence[Gpu]) -> str:
    kinds: dict[str, int] = {}
    for gpu in gpus:
        size = f" {human_bytes(gpu.memory_bytes)}" if gpu.memory_bytes else ""
        name = f"{gpu.model or UNKNOWN}{size}{f' {gpu.mig}' if gpu.mig else ''}"
        kinds[name] = kinds.get(name, 0) + 1
    return ", ".join(f"{count} x {name}" for name, count in kinds.items()) or "none"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
