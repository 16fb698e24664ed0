"""What is captured: `worker.py weights GIB SEED [apart]`, or `worker.py llama SIZE SEED [apart]`; it says what each step has found.

`weights` holds random bf16 tensors and sums all of their bits; `llama` has random weights and continues a prompt greedily. Both
replay a CUDA graph and sum host memory in every step. The answer must be the same for ever.
"""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable

import torch

from chrek_worker import apart

STATE = "/bench/state"
BLOCK = 1 << 17
LLAMA = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}


def weights(gib: int) -> Callable[[], str]:
    held = [torch.empty(1 << 29, dtype=torch.bfloat16, device="cuda").normal_() for _ in range(gib)]

    def step() -> str:
        sums = [tensor.view(torch.int64).view(-1, BLOCK).sum(1) for tensor in held]
        return hashlib.sha256(torch.cat(sums).cpu().numpy().tobytes()).hexdigest()

    return step


def llama(size: str) -> Callable[[], str]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    config = LlamaConfig(**LLAMA[size], num_key_value_heads=8, vocab_size=128256, pad_token_id=0)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).eval()
    prompt = torch.arange(1, 17, device="cuda").unsqueeze(0)

    def step() -> str:
        with torch.no_grad():
            tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False)
        return " ".join(map(str, tokens[0, 16:].tolist()))

    return step


def replay() -> Callable[[], float]:
    factor = torch.randn(2048, 2048, device="cuda")
    product = torch.empty_like(factor)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.mul(factor, factor, out=product)

    def run() -> float:
        product.zero_()
        graph.replay()
        return (product.double() - factor.double()).sum().item()

    return run


def main() -> None:
    kind, amount, seed = sys.argv[1:4]
    keep = apart.weights if "apart" in sys.argv[4:] else contextlib.nullcontext
    begin = time.time()
    torch.manual_seed(int(seed))
    host = torch.randint(1 << 62, (8 << 20,))
    with keep():
        step = weights(int(amount)) if kind == "weights" else llama(amount)
    run = replay()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    loaded = time.time() - begin
    pausing, still = threading.Event(), threading.Event()

    def pause() -> None:
        pausing.set()
        still.wait()
        torch.cuda.synchronize()

    if "apart" in sys.argv[4:]:
        apart.install(before_capture=pause, on_restore=pausing.clear)
    number = 0
    while True:
        if pausing.is_set():
            still.set()
            time.sleep(0.001)
            continue
        number += 1
        said = {"answer": step(), "graph": run(), "host": int(host.sum())}
        found = {"step": number, "said": said, "at": time.time(), "load": loaded}
        with open(f"{STATE}.new", "w") as file:  # noqa: PTH123 - as little as possible between two steps
            json.dump(found, file)
        os.replace(f"{STATE}.new", STATE)  # noqa: PTH105 - as above
        time.sleep(0.02)


main()
