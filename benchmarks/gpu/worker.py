"""What is captured: `worker.py weights GIB SEED [apart]`, or `worker.py llama SIZE SEED [apart]`; it says what each step has found.

`weights` holds random bf16 tensors and sums all of their bits; `llama` has random weights and continues a prompt greedily. Both
replay a CUDA graph and sum host memory in every step. The answer must be the same for ever. Without a GPU all is small and on the
processor, to try a part out.
"""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from chrek_worker import apart

STATE = "/bench/state"
BLOCK = 1 << 17
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TENSOR = 1 << 29 if DEVICE == "cuda" else 1 << 22
LLAMA = {
    "tiny": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 16},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}


def weights(gib: int) -> Callable[[], str]:
    held = [torch.empty(TENSOR, dtype=torch.bfloat16, device=DEVICE).normal_() for _ in range(gib)]

    def step() -> str:
        sums = [tensor.view(torch.int64).view(-1, BLOCK).sum(1) for tensor in held]
        return hashlib.sha256(torch.cat(sums).cpu().numpy().tobytes()).hexdigest()

    return step


def load(size: str) -> Any:
    """A Llama of random weights, in bf16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    config = LlamaConfig(**LLAMA[size], num_key_value_heads=8, vocab_size=128256, pad_token_id=0)
    with torch.device(DEVICE) if DEVICE == "cuda" else contextlib.nullcontext():
        return LlamaForCausalLM(config).eval()


def written(model: Any, prompt: list[int], count: int) -> list[int]:
    """How transformers' own greedy generation goes on."""
    asked = torch.tensor([prompt], device=DEVICE)
    with torch.no_grad():
        tokens = model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=count, do_sample=False)
    return tokens[0, len(prompt) :].tolist()


def llama(size: str) -> Callable[[], str]:
    model = load(size)
    return lambda: " ".join(map(str, written(model, list(range(1, 17)), 16)))


def graphed(work: Callable[[], object]) -> Callable[[], object]:
    """The work as a CUDA graph; as it is where there is no GPU."""
    if DEVICE == "cpu":
        return work
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def replay() -> Callable[[], float]:
    factor = torch.randn(2048, 2048, device=DEVICE)
    product = torch.empty_like(factor)
    multiply = graphed(lambda: torch.mul(factor, factor, out=product))

    def run() -> float:
        product.zero_()
        multiply()
        return (product.double() - factor.double()).sum().item()

    return run


def finish() -> None:
    """All that was begun on the GPU is done."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def tell(found: dict[str, Any]) -> None:
    """Says it to whoever reads STATE."""
    with open(f"{STATE}.new", "w") as file:  # noqa: PTH123 - as little as possible between two steps
        json.dump(found, file)
    os.replace(f"{STATE}.new", STATE)  # noqa: PTH105 - as above


def main() -> None:
    kind, amount, seed = sys.argv[1:4]
    keep = apart.weights if "apart" in sys.argv[4:] else contextlib.nullcontext
    begin = time.time()
    torch.manual_seed(int(seed))
    host = torch.randint(1 << 62, (8 << 20,))
    with keep():
        step = weights(int(amount)) if kind == "weights" else llama(amount)
    run = replay()
    finish()
    torch.cuda.empty_cache()
    loaded = time.time() - begin
    pausing, still = threading.Event(), threading.Event()

    def pause() -> None:
        pausing.set()
        still.wait()
        finish()

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
        tell({"step": number, "said": said, "at": time.time(), "load": loaded})
        time.sleep(0.02)


if __name__ == "__main__":
    main()
