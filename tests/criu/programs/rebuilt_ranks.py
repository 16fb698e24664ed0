"""Two ranks over gloo whose groups are down while they are captured: each says what it has added up with the other."""

import os
import sys
import time

sys.path.append("/chrek/chrek_worker.pyz")
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
rank = 0 if os.fork() else 1

import torch  # noqa: E402 - each rank its own
import torch.distributed as dist  # noqa: E402

from chrek_worker import communicators  # noqa: E402

torch.manual_seed(rank)
held = torch.randn(1 << 16).double()
communicators.init_process_group("gloo", rank=rank, world_size=2)
pair = communicators.new_group([0, 1])


def say(word: str) -> None:
    total = held.sum()
    dist.all_reduce(total)
    dist.all_reduce(total, group=pair.group)
    print(f"{rank} {word} {total.item():.9f} {dist.get_rank()} of {dist.get_world_size()}", flush=True)


communicators.install(before_capture=lambda: print(f"{rank} down {dist.is_initialized()}", flush=True))
say("born")
while not communicators.rest():
    time.sleep(0.01)
say("restored")
while True:
    time.sleep(1)
