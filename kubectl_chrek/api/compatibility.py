"""Whether a capture can run here: the facts that it depends on, and the rules that compare them.

The identity's hash says which capture is wanted; this says whether it would work. A fact that either side does not know is
`unknown`: shown, never a refusal and never called a match. A pod may waive single checks by an annotation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kubectl_chrek.api import names
from kubectl_chrek.api.arguments import differences
from kubectl_chrek.api.view import View


class Gpu(View):
    """One GPU or MIG slice. `mig` is the slice's profile (`1g.10gb`), empty for a whole GPU."""

    model: str = ""
    memory_bytes: int = 0
    uuid: str = ""
    mig: str = ""


class Compatibility(View):
    """What a capture depends on, or what a place offers. None: not known."""

    architecture: str | None = None
    """As uname prints it: x86_64, aarch64."""
    cpu_features: list[str] | None = None
    """As /proc/cpuinfo lists them."""
    kernel: str | None = None
    """Release, as uname prints it."""
    criu: str | None = None
    image_digest: str | None = None
    """The container's imageID, as its runtime reports it."""
    argv: list[str] | None = None
    """The worker's command, without the shim before it."""
    env_flags: dict[str, str] | None = None
    """Environment variables that engines read as flags; never one that may hold a secret."""
    mounts: list[str] | None = None
    """Mount points in the container, less the runtime's own."""
    memory_bytes: int | None = None
    """Of a capture: what its processes hold. Of a place: the most that they may hold."""
    gpus: list[Gpu] | None = None
    """Empty: a worker without GPUs, or a place that has none."""
    driver: str | None = None
    """Version of NVIDIA's kernel driver."""
    cuda: str | None = None
    """The newest CUDA version that the driver speaks."""


class Verdict(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. `reason` is a sentence part that holds both values; `waived`: the pod does without this check."""

    name: str
    verdict: Verdict
    captured: str
    here: str
    reason: str
    waived: bool = False


ARCHITECTURE: Final = "architecture"
CPU: Final = "cpu"
KERNEL: Final = "kernel"
CRIU: Final = "criu"
IMAGE: Final = "image"
ARGUMENTS: Final = "arguments"
ENVIRONMENT: Final = "environment"
MOUNTS: Final = "mounts"
MEMORY: Final = "memory"
GPU_COUNT: Final = "gpu-count"
GPU_MODEL: Final = "gpu-model"
GPU_MEMORY: Final = "gpu-memory"
MIG: Final = "mig"
DRIVER: Final = "driver"
CUDA: Final = "cuda"

POD_CHECKS: Final = frozenset({IMAGE, ARGUMENTS, ENVIRONMENT, MOUNTS})
"""Checks whose facts only a pod has; against a node's facts they are unknown."""
EVERYTHING: Final = "all"
"""As an override: waives every check."""
_SHOWN: Final = 5


def evaluate(captured: Compatibility, here: Compatibility, *, overrides: frozenset[str] = frozenset()) -> list[Check]:
    """Compares a capture's record with a place's facts, in the order in which a person would look.

    Args:
        captured: The record that was written at capture.
        here: Facts of the node and, where there is one, of the pod.
        overrides: Names of checks that do not count here; `all` for every one.
    """
    checks = [rule(captured, here) for rule in _RULES]
    if captured.gpus != []:
        checks += [rule(captured, here) for rule in _GPU_RULES]
    waive = overrides >= {EVERYTHING}
    return [
        Check(check.name, check.verdict, check.captured, check.here, check.reason, waived=waive or check.name in overrides)
        for check in checks
    ]


def compatible(checks: Sequence[Check]) -> bool:
    """No check fails but those waived."""
    return not failures(checks)


def failures(checks: Sequence[Check]) -> list[Check]:
    """The checks that stand in the way."""
    return [check for check in checks if check.verdict is Verdict.FAIL and not check.waived]


def read_overrides(annotations: Mapping[str, str]) -> frozenset[str]:
    """Names of the checks that a pod waives, from its annotation."""
    words = annotations.get(names.ANNOTATION_COMPAT_OVERRIDE, "").replace(",", " ").split()
    return frozenset(word.lower() for word in words)


Rule = Callable[[Compatibility, Compatibility], Check]


def _unknown(name: str, captured: object, here: object) -> Check:
    before, now = ("not known" if value is None else str(value) for value in (captured, here))
    side = "of the capture" if captured is None else "of this place"
    return Check(name, Verdict.UNKNOWN, before, now, f"{name} {side} is not known")


def _judged(name: str, captured: str, here: str, *, good: bool, problem: str = "") -> Check:
    reason = "" if good else problem or f"captured with {name} {captured}, here it is {here}"
    return Check(name, Verdict.PASS if good else Verdict.FAIL, captured, here, reason)


def _architecture(captured: Compatibility, here: Compatibility) -> Check:
    if captured.architecture is None or here.architecture is None:
        return _unknown(ARCHITECTURE, captured.architecture, here.architecture)
    return _judged(ARCHITECTURE, captured.architecture, here.architecture, good=captured.architecture == here.architecture)


def _cpu(captured: Compatibility, here: Compatibility) -> Check:
    """Programs and libraries choose their code by the CPU's features when they start."""
    if captured.cpu_features is None or here.cpu_features is None:
        known = [None if facts.cpu_features is None else "known" for facts in (captured, here)]
        return _unknown(CPU, *known)
    missing = sorted(set(captured.cpu_features) - set(here.cpu_features))
    lacks = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
    before, now = (f"{len(facts.cpu_features or ())} features" for facts in (captured, here))
    return _judged(CPU, before, now, good=not missing, problem=f"the captured worker may use {lacks}, which this CPU lacks")


def _kernel(captured: Compatibility, here: Compatibility) -> Check:
    """An older kernel may lack what the worker or its libc found when it started; a newer one keeps it."""
    return _not_older(KERNEL, captured.kernel, here.kernel, parts=2)


def _criu(captured: Compatibility, here: Compatibility) -> Check:
    """CRIU reads the images of older versions, not of newer ones."""
    return _not_older(CRIU, captured.criu, here.criu, parts=2)


def _image(captured: Compatibility, here: Compatibility) -> Check:
    """A digest of a manifest and one of a configuration cannot be compared: runtimes report either."""
    before, now = (_digest(facts.image_digest) for facts in (captured, here))
    if before is None or now is None:
        return _unknown(IMAGE, before and before[1], now and now[1])
    if before[0] != now[0]:
        return Check(IMAGE, Verdict.UNKNOWN, before[1], now[1], "the two runtimes report digests of different things")
    return _judged(IMAGE, before[1], now[1], good=before == now)


def _digest(image: str | None) -> tuple[bool, str] | None:
    """Whether it is a repository's digest, and the digest; None without one."""
    _, algorithm, digest = (image or "").rpartition("sha256:")
    return ("@" in str(image), f"sha256:{digest}") if algorithm and digest else None


def _arguments(captured: Compatibility, here: Compatibility) -> Check:
    if captured.argv is None or here.argv is None:
        return _unknown(ARGUMENTS, captured.argv and " ".join(captured.argv), here.argv and " ".join(here.argv))
    found = differences(captured.argv, here.argv)
    return _judged(ARGUMENTS, " ".join(captured.argv), " ".join(here.argv), good=not found, problem="; ".join(found))


def _environment(captured: Compatibility, here: Compatibility) -> Check:
    """A restored worker keeps the environment of its capture: one that differs would silently not be heeded."""
    if captured.env_flags is None or here.env_flags is None:
        known = [None if facts.env_flags is None else "known" for facts in (captured, here)]
        return _unknown(ENVIRONMENT, *known)
    before, now = captured.env_flags, here.env_flags
    other = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    parts = [f"captured with {_variable(name, before)}, here {_variable(name, now)}" for name in other[:_SHOWN]]
    spelled = [", ".join(f"{name}={value}" for name, value in sorted(values.items())) or "none" for values in (before, now)]
    return _judged(ENVIRONMENT, *spelled, good=not other, problem="; ".join(parts))


def _variable(name: str, values: dict[str, str]) -> str:
    return f"{name}={values[name]}" if name in values else f"no {name}"


def _mounts(captured: Compatibility, here: Compatibility) -> Check:
    if captured.mounts is None or here.mounts is None:
        return _unknown(MOUNTS, *(None if facts.mounts is None else " ".join(facts.mounts) for facts in (captured, here)))
    missing = sorted(set(captured.mounts) - set(here.mounts))
    problem = f"captured with {', '.join(missing[:_SHOWN])} mounted, which this pod lacks"
    return _judged(MOUNTS, " ".join(captured.mounts), " ".join(here.mounts), good=not missing, problem=problem)


def _memory(captured: Compatibility, here: Compatibility) -> Check:
    if captured.memory_bytes is None or here.memory_bytes is None:
        return _unknown(MEMORY, captured.memory_bytes, here.memory_bytes)
    need, limit = (f"{size / 2**30:.2f} GiB" for size in (captured.memory_bytes, here.memory_bytes))
    problem = f"the captured worker holds {need} of memory, the limit here is {limit}"
    return _judged(MEMORY, need, limit, good=captured.memory_bytes <= here.memory_bytes, problem=problem)


def _gpu_count(captured: Compatibility, here: Compatibility) -> Check:
    counts = [None if facts.gpus is None else str(len(facts.gpus)) for facts in (captured, here)]
    before, now = counts
    if before is None or now is None:
        return _unknown(GPU_COUNT, before, now)
    return _judged(GPU_COUNT, before, now, good=before == now, problem=f"captured on {before} GPU(s), here there are {now}")


def _of_gpus(name: str, word: str, read: Callable[[Gpu], str]) -> Rule:
    """A rule that some fact of the GPUs, taken together, is the same."""

    def rule(captured: Compatibility, here: Compatibility) -> Check:
        before, now = (_all_known(facts.gpus, read) for facts in (captured, here))
        if before is None or now is None:
            return _unknown(name, before and ", ".join(before), now and ", ".join(now))
        old, new = (", ".join(sorted(set(values))) or "none" for values in (before, now))
        # How many there are is another check's business.
        return _judged(name, old, new, good=set(before) == set(now), problem=f"captured on {word} {old}, here it is {new}")

    return rule


def _all_known(gpus: list[Gpu] | None, read: Callable[[Gpu], str]) -> list[str] | None:
    found = [read(gpu) for gpu in gpus or ()]
    return None if gpus is None or "" in found else found


def _driver(captured: Compatibility, here: Compatibility) -> Check:
    """The driver's own state is in the capture: the same major version reads it, an older or another one may not."""
    check = _not_older(DRIVER, captured.driver, here.driver, parts=3)
    if check.verdict is Verdict.PASS and _version(check.captured, 1) != _version(check.here, 1):
        return _judged(DRIVER, check.captured, check.here, good=False)
    return check


def _cuda(captured: Compatibility, here: Compatibility) -> Check:
    return _not_older(CUDA, captured.cuda, here.cuda, parts=2)


def _not_older(name: str, captured: str | None, here: str | None, *, parts: int) -> Check:
    before, now = _version(captured, parts), _version(here, parts)
    if captured is None or here is None or not before or not now:
        return _unknown(name, captured if before else None, here if now else None)
    problem = f"captured with {name} {captured}, here it is the older {here}"
    return _judged(name, captured, here, good=now >= before, problem=problem)


def _version(text: str | None, parts: int) -> tuple[int, ...]:
    """The first numbers of a version; empty without any."""
    found = []
    for word in (text or "").split(".")[:parts]:
        digits = word[: len(word) - len(word.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return (*found, *(0,) * (parts - len(found))) if found else ()


_RULES: Final[tuple[Rule, ...]] = (_architecture, _cpu, _kernel, _criu, _image, _arguments, _environment, _mounts, _memory)
_GPU_RULES: Final[tuple[Rule, ...]] = (
    _gpu_count,
    _of_gpus(GPU_MODEL, "GPU", lambda gpu: gpu.model),
    _of_gpus(GPU_MEMORY, "GPUs of", lambda gpu: f"{gpu.memory_bytes / 2**30:.0f} GiB" if gpu.memory_bytes else ""),
    _of_gpus(MIG, "MIG profile", lambda gpu: gpu.mig or "whole GPU"),
    _driver,
    _cuda,
)
