"""Keeps memory of a stand-in's GPU apart, which the directory of its first argument has; says what is in it after each restore."""

import ctypes
import hashlib
import random
import sys
import threading

sys.path += ["/chrek/chrek_worker.pyz", sys.argv[1]]
from fake_cuda import FakeCuda, FakeTorch

from chrek_worker import apart
from chrek_worker.apart import keeper
from chrek_worker.apart.pool import Pools

MIB = 1 << 20
SIZES = (9 * MIB, 20 * MIB, 2 * MIB)
cuda, torch = FakeCuda(), FakeTorch()
sys.modules["torch"] = torch
keeper.Pools = lambda module: Pools(module, cuda)
with apart.weights():
    addresses = [torch.alloc(size, 0, None) for size in SIZES]
del sys.modules["torch"]  # It has no random numbers that a restore could renew.
torch.segments = [
    {"address": address, "blocks": [{"size": size, "state": "active_allocated"}]}
    for address, size in zip(addresses, SIZES, strict=True)
]
for address, size in zip(addresses, SIZES, strict=True):
    ctypes.memmove(address, random.Random(size).randbytes(size), size)


def say(word):
    found = hashlib.sha256(b"".join(ctypes.string_at(address, size) for address, size in zip(addresses, SIZES, strict=True)))
    print(f"{word} {len(cuda.imported)} {found.hexdigest()}", flush=True)


apart.install(before_capture=lambda: print("still", flush=True), on_restore=lambda: say("restored"))
say("born")
threading.Event().wait()
