"""What of a GPU process can be captured and never restored, or not at all: looked for before anything is locked, said in one line.

The driver captures memory that is shared between GPUs without a word, and refuses it at the restore (two H200, driver 580). So what
it would not say is read from /proc, and whether GPUs reach each other it is asked.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.container.processes import Process
from chrek_agent.cuda.driver import Driver
from chrek_agent.cuda.evidence import Evidence, gather
from chrek_agent.errors import CaptureError
from chrek_agent.node import gpus

MANAGED: Final = 256 << 20
"""Bytes mapped of the driver's memory manager from which on they are taken for managed memory: it maps a few itself."""
_JOB: Final = "CUDA_CHECKPOINT_JOB_FILE"
_JOB_DRIVER: Final = 610
"""The driver's major version that restores CUDA IPC between processes of one `cuda-checkpoint --launch-job`: nothing else tells."""
_CAPABILITY: Final = re.compile(r"/dev/nvidia-caps/nvidia-cap(\d+)")
_IMEX: Final = "/dev/nvidia-caps-imex-channels/"
_SLICE: Final = "MIG-"
_ENGINES: Final = re.compile(r"\b(vllm|sglang)\b")
_NO_CUSTOM: Final = "--disable-custom-all-reduce"
_ELSE: Final = ", or take its process groups down before the capture (docs/gpus.md)"


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the rules look at."""

    users: Sequence[Evidence]
    """The GPU processes."""
    commands: Sequence[tuple[Process, str]]
    """All processes of the tree, with their command lines."""
    gpus: int
    """How many GPUs they see."""
    slices: frozenset[int]
    """Minor numbers of the capabilities that MIG slices are."""
    peers: Callable[[], bool]
    multicast: Callable[[], bool]
    version: int
    """The driver's major version; 0: not known."""

    @property
    def ranks(self) -> Sequence[Evidence]:
        """Those that may have a communicator, where there is another process, on another GPU, to communicate with."""
        return [user for user in self.users if user.may_communicate] if self.several else []

    @property
    def several(self) -> bool:
        """More than one process on more than one GPU."""
        return len(self.users) > 1 and self.gpus > 1

    @property
    def one_job(self) -> bool:
        """The driver restores what its processes share by CUDA IPC."""
        return self.version >= _JOB_DRIVER and all(_JOB in user.environment for user in self.users)


Found = Iterator[tuple[Process, str]]


def refuse_gpus(users: Sequence[Process], tree: Sequence[Process], driver: Driver, nvidia: Path = gpus.DRIVER) -> None:
    """Blocks for a moment. The driver is asked only where several processes have communicators.

    Args:
        users: The GPU processes of a tree.
        tree: The tree.
        driver: Is asked what its GPUs can do.
        nvidia: Where the kernel driver tells of itself.

    Raises:
        CaptureError: Names the process and what cures it.
    """
    scene = Scene(
        users=[gather(process) for process in users],
        commands=[(process, _command(process)) for process in tree],
        gpus=len(gpus.visible_gpus(users[0].pid, {})),
        slices=_slices(nvidia / "capabilities"),
        peers=driver.peers,
        multicast=driver.multicast,
        version=int((gpus.driver_version(nvidia) or "0").split(".")[0]),
    )
    for process, reason in reasons(scene):
        raise CaptureError(f"{process.name} (PID {process.inner}) {reason}")


def reasons(scene: Scene) -> Found:
    """All that stands in the way, what concerns a single process first. Raises CudaError when the driver cannot be asked."""
    for rule in (_divided, _served, _exported, _borrowed, _managed, _multicast, _peers, _host_buffers, _custom, _shared):
        yield from rule(scene)


def _divided(scene: Scene) -> Found:
    for user in scene.users:
        held = {int(match[1]) for file in user.files if (match := _CAPABILITY.fullmatch(file))}
        told = (user.environment.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"))
        if held & scene.slices or any(_SLICE in value for value in told):
            yield user.process, "runs on a part of a GPU (MIG), which the driver cannot checkpoint: give its pod a whole GPU"


def _served(scene: Scene) -> Found:
    for user in scene.users:
        if user.mps:
            yield user.process, f"uses its GPU by MPS ({user.mps}), which cannot be checkpointed: run its pod without MPS"


def _exported(scene: Scene) -> Found:
    for user in scene.users:
        if any(file.startswith(_IMEX) for file in user.files) and not user.says("NCCL_MNNVL_ENABLE", "0"):
            yield user.process, "can share GPU memory with other nodes (IMEX), which cannot be restored: set NCCL_MNNVL_ENABLE=0"


def _borrowed(scene: Scene) -> Found:
    for user in scene.users:
        if user.borrows:
            how = "holds GPU memory that an agent loaded when it was restored, which the driver captures but never restores"
            yield user.process, f"{how}: capture it as a source of a DynamoCheckpoint, whose agent has it give that up"


def _managed(scene: Scene) -> Found:
    for user in scene.users:
        if user.managed >= MANAGED:
            size = f"{user.managed / 2**30:.1f} GiB"
            yield user.process, f"has {size} of managed memory (cudaMallocManaged), which cannot be checkpointed: use device memory"


def _multicast(scene: Scene) -> Found:
    for rank in scene.ranks:
        if not (rank.says("NCCL_NVLS_ENABLE", "0") or rank.says("NCCL_CUMEM_ENABLE", "0")) and scene.multicast():
            yield rank.process, f"{_has(rank)} NCCL on NVLink SHARP, which the driver cannot restore: set NCCL_NVLS_ENABLE=0{_ELSE}"


def _peers(scene: Scene) -> Found:
    if scene.one_job:
        return
    for rank in scene.ranks:
        if not (rank.says("NCCL_P2P_DISABLE", "1") or rank.says("NCCL_P2P_LEVEL", "LOC", "0")) and scene.peers():
            how = f"{_has(rank)} NCCL on CUDA IPC (P2P), which driver {scene.version} captures but never restores"
            yield rank.process, f"{how}: set NCCL_P2P_DISABLE=1{_ELSE}"


def _host_buffers(scene: Scene) -> Found:
    for rank in scene.ranks:
        if not (rank.says("NCCL_SHM_DISABLE", "1") or rank.says("NCCL_CUMEM_HOST_ENABLE", "0")):
            how = f"{_has(rank)} NCCL on host memory of CUDA's, with which restores hang"
            yield rank.process, f"{how}: set NCCL_CUMEM_HOST_ENABLE=0{_ELSE}"


def _has(rank: Evidence) -> str:
    return "has" if rank.communicates else "may have (NCCL_SET_THREAD_NAME=1 would tell)"


def _custom(scene: Scene) -> Found:
    """Engines have an all-reduce of their own, which NCCL's settings do not reach."""
    engine = next((process for process, command in scene.commands if _ENGINES.search(command)), None)
    if not scene.several or scene.one_job or engine is None:
        return
    if not any(_NO_CUSTOM in command for _, command in scene.commands) and scene.peers():
        how = f"reduces over its GPUs by CUDA IPC, which driver {scene.version} captures but never restores"
        yield engine, f"{how}: start it with {_NO_CUSTOM}"


def _shared(scene: Scene) -> Found:
    if scene.one_job:
        return
    for user in scene.users:
        others = frozenset[str]().union(*(other.handles for other in scene.users if other is not user))
        if user.handles & others:
            how = f"shares GPU memory with another process by CUDA IPC, which driver {scene.version} captures but never restores"
            yield user.process, f"{how}: close it before the capture"


def _slices(capabilities: Path) -> frozenset[int]:
    found: set[int] = set()
    for path in capabilities.glob("gpu*/mig/gi*/**/access"):
        match = re.search(r"DeviceFileMinor:\s*(\d+)", path.read_text())
        found |= {int(match[1])} if match else set()
    return frozenset(found)


def _command(process: Process) -> str:
    try:
        return (processes.PROC / str(process.pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
