"""The environment of a worker that can be captured: one table, for the Job and for the pods that are restored alike.

The compatibility gate compares engines' flags, so both sides get the same. What the container says itself wins, in `env` or by
`envFrom`: Kubernetes lets a later source of `envFrom` win over an earlier one, so there the table is the first of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.api import names


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable, and what would go wrong without it."""

    name: str
    value: str
    reason: str


CAPTURE_ENV: Final = (
    Entry("NCCL_CUMEM_ENABLE", "0", "cuMem buffers are shared between ranks by descriptors that the driver cannot checkpoint"),
    Entry("NCCL_NVLS_ENABLE", "0", "multicast objects of NVLink SHARP cannot be checkpointed"),
    Entry("NCCL_P2P_DISABLE", "1", "GPUs that reach each other's memory are captured without a word, and then never restored"),
    Entry("NCCL_SHM_DISABLE", "1", "restores hang where ranks share host memory through CUDA"),
    Entry("NCCL_CUMEM_HOST_ENABLE", "0", "as NCCL_SHM_DISABLE, for a worker that has shared memory on"),
    Entry("NCCL_SET_THREAD_NAME", "1", "by its threads' names the agent sees whether a communicator is up"),
    Entry("VLLM_ALLREDUCE_USE_SYMM_MEM", "0", "vLLM's symmetric memory is multicast, as NCCL_NVLS_ENABLE"),
    Entry("NCCL_IB_DISABLE", "1", "queue pairs of InfiniBand live in the adapter: neither CRIU nor the driver can save them"),
    Entry("NCCL_RAS_ENABLE", "0", "its thread keeps TCP connections between the ranks of a job"),
    Entry("NCCL_SOCKET_IFNAME", "lo", "ranks that meet on the pod's address hold connections which end with the pod"),
    Entry("GLOO_SOCKET_IFNAME", "lo", "as NCCL_SOCKET_IFNAME; connections over loopback go on after a restore"),
    Entry("TORCH_NCCL_ENABLE_MONITORING", "0", "the watchdog takes the time that a worker stood still for a hang, and ends it"),
    Entry("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", "as TORCH_NCCL_ENABLE_MONITORING"),
    Entry("USE_LIBUV", "0", "torch's store on libuv may use io_uring, which CRIU cannot dump"),
    Entry("UV_USE_IO_URING", "0", "libuv elsewhere (uvloop, Node) may use io_uring, which CRIU cannot dump"),
    Entry("HF_HUB_DISABLE_XET", "1", "the Xet downloader keeps threads and connections after the weights are there"),
)


SOURCE: Final[Mapping[str, Any]] = {"configMapRef": {"name": names.SHIM_CONFIG_MAP}}
"""The table as a source of `envFrom`: it is in the shim's ConfigMap too."""


def capture_data() -> dict[str, str]:
    """The table as a ConfigMap's data."""
    return {entry.name: entry.value for entry in CAPTURE_ENV}


def add_capture_env(worker: dict[str, Any], own: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A container's `env`, with the table less what it has itself; or the table put before its `envFrom`, in place, if it has one.

    In `env` the table would win over what the sources hold, which the operator has no right to read.
    """
    entries = [dict(entry) for entry in own]
    sources = [source for source in worker.get("envFrom") or () if source != SOURCE]
    if sources:
        worker["envFrom"] = [dict(SOURCE), *sources]
        return entries
    worker.pop("envFrom", None)
    taken = {entry["name"] for entry in entries}
    return [{"name": entry.name, "value": entry.value} for entry in CAPTURE_ENV if entry.name not in taken] + entries
