"""What captures depend on, read from a node and from a container on it. All functions block; a fact that cannot be read is None."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chrek_agent.container import processes, rootfs
from chrek_agent.container.discovery import Container
from chrek_agent.container.masking import mask
from chrek_agent.node import gpus
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import CapturedProcess
from kubectl_chrek.api.compatibility import Compatibility, Gpu

# Variables that engines and their libraries read as flags. Those that name a place, a secret or a Service differ by nature.
_ENGINE: Final = re.compile(r"(VLLM|SGLANG|SGL|TRTLLM|TLLM|NCCL|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|CUDA|OMP|MKL)_\w+")
_OTHER: Final = re.compile(
    r"(CUDA_VISIBLE_DEVICES|CUDA_VERSION)|.*(TOKEN|KEY|SECRET|PASSW|CREDENTIAL|_SERVICE_|_PORT|_HOST|_IP|_ADDR|_UUID|_DIR|_PATH|_HOME).*"
)
_RUNTIMES_OWN: Final = ("/proc", "/sys", "/dev")
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a path in the worker's container


def of_node(criu: str) -> Compatibility:
    """What this node offers to any worker."""
    found, cuda = gpus.node_gpus()
    return _of_node(criu, found, cuda)


def of_target(criu: str, container: Container, pod: Mapping[str, Any]) -> Compatibility:
    """What a container on this node offers, its shim still waiting."""
    found, cuda = gpus.node_gpus()
    words = argv(container.init)
    own = {
        "image_digest": image_digest(pod, container.name),
        "argv": None if words is None else mask(words),
        "env_flags": env_flags(container.init),
        "mounts": mounts(container),
        "memory_bytes": memory_limit(container),
        "gpus": gpus.container_gpus(container, found),
    }
    return _of_node(criu, found, cuda).model_copy(update=own)


def _of_node(criu: str, found: Mapping[int, Gpu], cuda: str | None) -> Compatibility:
    return Compatibility(
        architecture=platform.machine(),
        cpu_features=sorted(cpu_features()),
        kernel=platform.release(),
        criu=criu,
        memory_bytes=node_memory(),
        gpus=[found[minor] for minor in sorted(found)],
        driver=gpus.driver_version(),
        cuda=cuda,
    )


def of_source(criu: str, container: Container, pod: Mapping[str, Any], worker: Sequence[processes.Process]) -> Compatibility:
    """The record of a capture of this container, `worker` being its process tree."""
    here = of_target(criu, container, pod)
    held = sum(process.bytes for process in tree(worker))
    # Memory that processes share counts once for each: more than the limit cannot be held.
    needed = min(held, here.memory_bytes or held)
    # Without a GPU the driver is no part of what was captured.
    unused = {} if here.gpus else {"driver": None, "cuda": None}
    return here.model_copy(update={"memory_bytes": needed, **unused})


def with_memory(record: Compatibility, held: int) -> Compatibility:
    """The record for a worker that held so many bytes once its GPUs' memory had come to the host: a restore must hold them too."""
    return record.model_copy(update={"memory_bytes": max(record.memory_bytes or 0, held)})


def tree(worker: Sequence[processes.Process]) -> list[CapturedProcess]:
    """The processes as the status lists them."""
    return [_describe(process) for process in worker]


def _describe(process: processes.Process) -> CapturedProcess:
    fields = {}
    with suppress(OSError):
        status = (processes.PROC / str(process.pid) / "status").read_text()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in status.splitlines())}
    held = sum(int(fields[name][0]) * 1024 for name in ("RssAnon", "RssShmem") if fields.get(name))
    threads = int(fields["Threads"][0]) if fields.get("Threads") else 1
    return CapturedProcess(pid=process.inner, name=process.name, threads=threads, bytes=held)


def cpu_features() -> set[str]:
    """As /proc/cpuinfo lists them."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def node_memory() -> int:
    """All memory of the node, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_limit(container: Container) -> int:
    """The most that the container may hold, in bytes: the least limit of its cgroups and those above, at most the node's memory."""
    limits = [node_memory()]
    for cgroup in container.cgroups:
        for directory in (cgroup, *cgroup.parents):
            for name in ("memory.max", "memory.limit_in_bytes"):
                with suppress(OSError, ValueError):  # `max` is no number.
                    limits.append(int((directory / name).read_text()))
    return min(limits)


def image_digest(pod: Mapping[str, Any], container: str) -> str | None:
    """The container's imageID, as its runtime reported it to the kubelet."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status["name"] == container and status.get("imageID"):
            return str(status["imageID"])
    return None


def argv(init: int) -> list[str] | None:
    """The worker's command: what a container's PID 1 was started with, less our shim."""
    words = _strings(init, "cmdline")
    if words is None:
        return None
    for index, word in enumerate(words[:-1]):
        if word.endswith(f"/{names.SHIM_FILE}") and words[index + 1] == "--":
            return words[index + 2 :]
    return words


def env_flags(init: int) -> dict[str, str] | None:
    """Variables of a container's PID 1 that engines read as flags."""
    words = _strings(init, "environ")
    if words is None:
        return None
    variables = (word.partition("=") for word in words)
    return {name: value for name, _, value in variables if _ENGINE.fullmatch(name) and not _OTHER.fullmatch(name)}


def mounts(container: Container) -> list[str] | None:
    """Where volumes are mounted in the container; what the runtime mounts below /proc, /sys and /dev is its own business."""
    try:
        points = rootfs.mount_points(container)
    except OSError:
        return None
    return [point for point in points if point == _SHARED_MEMORY or not _below(point, _RUNTIMES_OWN)]


def _below(path: str, tops: Sequence[str]) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in tops)


def _strings(pid: int, name: str) -> list[str] | None:
    try:
        content = (processes.PROC / str(pid) / name).read_bytes()
    except OSError:
        return None
    return [word.decode(errors="replace") for word in content.removesuffix(b"\0").split(b"\0")] if content else []
