"""What is captured: `ranks.py KIND AMOUNT SEED COUNT [HOW ...]`, so many processes that work together; the first starts the others.

`weights` holds AMOUNT GiB of random tensors in each and sums all of their bits; `block` is a transformer of AMOUNT layers, each
cut over the ranks, whose outputs they add up in its midst. The answer must be the same for ever. HOW: `rebuilt` takes the process
groups down for the capture, `ipc` shares a tensor between the first two by CUDA IPC, `managed` holds a GiB of managed memory.
Ranks have a GPU each, by NCCL, unless RANKS_ON says `one-gpu` or `cpu`: then they use gloo.
"""

import ctypes
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from chrek_worker import communicators
from worker import tell

KIND, AMOUNT, SEED, COUNT, *HOW = sys.argv[1:]
SIZE = int(COUNT)
PLACE = os.environ.get("RANKS_ON", "gpus")
RANK = int(os.environ.get("RANK_NUMBER", "0"))
DEVICE = "cpu" if PLACE == "cpu" else "cuda"
BACKEND = "nccl" if PLACE == "gpus" else "gloo"
MEASURE = Path("/bench/measure")
"""While it is there, all-reduces are timed."""
WIDTH, HEADS, INNER, TOKENS = (4096, 32, 14336, 128) if DEVICE == "cuda" else (64, 4, 128, 16)
TYPE = torch.bfloat16 if DEVICE == "cuda" else torch.float32
TENSOR = 1 << 29 if DEVICE == "cuda" else 1 << 22
REDUCED = 1 << 26 if DEVICE == "cuda" else 1 << 20
"""Numbers of 4 bytes in an all-reduce that is timed."""


def reduced(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks; gloo adds up on the processor."""
    there = tensor.float().cpu() if BACKEND == "gloo" else tensor.float()
    dist.all_reduce(there)
    return there.to(tensor.device, tensor.dtype)


def bits(tensor: torch.Tensor) -> int:
    """A sum of all bits that knows their places."""
    whole = tensor.contiguous().view(torch.int16 if tensor.element_size() == 2 else torch.int32).view(-1).long()
    return int((whole * torch.arange(1, whole.numel() + 1, device=whole.device)).sum())


def weights() -> Callable[[], int]:
    held = [torch.empty(TENSOR, dtype=torch.bfloat16, device=DEVICE).normal_() for _ in range(int(AMOUNT))]
    return lambda: int(torch.stack([tensor.view(torch.int64).sum() for tensor in held]).sum())  # It wraps round, as it may.


class Layer:
    """One rank's part of a layer: some of the heads, and some of the inner columns."""

    def __init__(self) -> None:
        def drawn(*shape: int) -> torch.Tensor:
            return (torch.randn(*shape, device=DEVICE) / shape[0] ** 0.5).to(TYPE)

        own = WIDTH // SIZE
        self.query, self.key, self.value, self.out = drawn(WIDTH, own), drawn(WIDTH, own), drawn(WIDTH, own), drawn(own, WIDTH)
        self.gate, self.up, self.down = drawn(WIDTH, INNER // SIZE), drawn(WIDTH, INNER // SIZE), drawn(INNER // SIZE, WIDTH)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        heads = [(x @ matrix).view(TOKENS, HEADS // SIZE, -1).transpose(0, 1) for matrix in (self.query, self.key, self.value)]
        scores = heads[0] @ heads[1].transpose(1, 2) / (WIDTH // HEADS) ** 0.5
        attended = (scores.float().softmax(-1).to(TYPE) @ heads[2]).transpose(0, 1).reshape(TOKENS, -1)
        x = normal(x + reduced(attended @ self.out))
        return normal(x + reduced((torch.nn.functional.silu(x @ self.gate) * (x @ self.up)) @ self.down))


def normal(x: torch.Tensor) -> torch.Tensor:
    return (x.float() / x.float().pow(2).mean(-1, keepdim=True).sqrt()).to(TYPE)


def block() -> Callable[[], int]:
    layers = [Layer() for _ in range(int(AMOUNT))]
    torch.manual_seed(int(SEED))  # All ranks have the same input.
    x = torch.randn(TOKENS, WIDTH, device=DEVICE).to(TYPE)

    def step() -> int:
        found = x
        for layer in layers:
            found = layer(found)
        return bits(found)

    return step


def speed() -> float:
    """GiB a second of an all-reduce, as each rank sees it."""
    whole = torch.ones(REDUCED, dtype=torch.float32, device="cpu" if BACKEND == "gloo" else DEVICE)
    dist.all_reduce(whole)
    finish()
    begin = time.monotonic()
    for _ in range(3):
        dist.all_reduce(whole)
    finish()
    return round(3 * whole.numel() * 4 / 2**30 / (time.monotonic() - begin), 3)


def finish() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def place() -> int:
    """The beginning of the UUID of the GPU that this rank is on, as the driver says at this moment."""
    if DEVICE == "cpu":
        return 0
    raw = (ctypes.c_ubyte * 16)()
    driver = ctypes.CDLL("libcuda.so.1")
    device = ctypes.c_int()
    driver.cuCtxGetDevice(ctypes.byref(device))
    driver.cuDeviceGetUuid_v2(raw, device)
    return int.from_bytes(bytes(raw)[:4], "big")


def share() -> object:
    """The second rank opens a tensor of the first."""
    import pickle
    from multiprocessing.reduction import ForkingPickler

    import torch.multiprocessing

    tensor = torch.ones(1 << 24, device=DEVICE) if RANK == 0 else None
    given = [bytes(ForkingPickler.dumps(tensor)) if RANK == 0 else None]
    dist.broadcast_object_list(given)
    found = pickle.loads(given[0]) if RANK == 1 else tensor
    dist.barrier()
    return found


def manage() -> object:
    """A GiB of managed memory, touched."""
    pointer = ctypes.c_uint64()
    code = ctypes.CDLL("libcuda.so.1").cuMemAllocManaged(ctypes.byref(pointer), ctypes.c_size_t(1 << 30), 1)
    assert code == 0, f"cuMemAllocManaged: {code}"
    ctypes.memset(pointer.value, 1, 1 << 30)
    return pointer


def start() -> list["subprocess.Popen[bytes]"]:
    """The other ranks."""
    if RANK:
        return []
    words = [sys.executable, *sys.argv]
    return [subprocess.Popen(words, env=os.environ | {"RANK_NUMBER": str(rank)}) for rank in range(1, SIZE)]


def meet() -> None:
    if DEVICE == "cuda":
        torch.cuda.set_device(RANK if PLACE == "gpus" else 0)
    words: dict[str, Any] = {"init_method": "tcp://127.0.0.1:29511", "rank": RANK, "world_size": SIZE}
    if "rebuilt" in HOW:
        communicators.init_process_group(BACKEND, **words)
        communicators.install()
    else:
        dist.init_process_group(BACKEND, **words)


def main() -> None:
    begin = time.time()
    others = start()
    meet()
    torch.manual_seed(int(SEED) + RANK)
    step = weights() if KIND == "weights" else block()
    _kept = [share() if "ipc" in HOW else None, manage() if "managed" in HOW else None, others]
    measured: dict[str, Any] = {}
    loaded = time.time() - begin
    for number in itertools.count(1):
        # Each rank's own answer and place, and whether the first is asked for the speed: one all-reduce for all of it.
        told = torch.zeros(2 * SIZE + 1, dtype=torch.int64, device="cpu" if BACKEND == "gloo" else DEVICE)
        told[RANK], told[SIZE + RANK] = step(), place()
        told[-1] = int(RANK == 0 and MEASURE.exists())
        dist.all_reduce(told)
        answers = told.tolist()
        if answers[-1]:
            measured = {"step": number, "gib_s": speed()}
        if RANK == 0:
            gpus = [f"{value:08x}" for value in answers[SIZE:-1]]
            found = {"step": number, "said": answers[:SIZE], "at": time.time(), "load": loaded, "gpus": gpus, "speed": measured}
            tell(found)
        if "rebuilt" in HOW:
            communicators.rest()
        time.sleep(0.02)


main()
