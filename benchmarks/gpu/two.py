"""What is captured: `two.py GIB SEED`, two processes on one GPU, each with weights, a CUDA graph and host memory of its own.

The first starts the second and asks it over pipes; both answers together are what it says of each step, as worker.py does.
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from worker import finish, replay, tell, weights


def prepared(amount: str, seed: str) -> Callable[[], dict[str, Any]]:
    """What one process does in each step."""
    torch.manual_seed(int(seed))
    host = torch.randint(1 << 62, (8 << 20,))
    step, run = weights(int(amount)), replay()
    finish()
    torch.cuda.empty_cache()
    return lambda: {"answer": step(), "graph": run(), "host": int(host.sum())}


def main() -> None:
    amount, seed, *more = sys.argv[1:]
    if more:
        step = prepared(amount, seed)
        for _ in sys.stdin:
            sys.stdout.write(f"{json.dumps(step())}\n")
            sys.stdout.flush()
        return
    begin = time.time()
    words = [sys.executable, __file__, amount, str(int(seed) + 1), "second"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as second:
        step = prepared(amount, seed)
        for number in itertools.count(1):
            second.stdin.write("\n")
            said = {"first": step(), "second": json.loads(second.stdout.readline())}
            tell({"step": number, "said": said, "at": time.time(), "load": time.time() - begin})
            time.sleep(0.02)


main()
