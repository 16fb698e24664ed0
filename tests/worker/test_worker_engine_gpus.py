"""What docs/gpus.md says of engines on several GPUs is what their packages declare; scripts/fetch-engines gets their sources."""

import asyncio
import re
import threading
from pathlib import Path

import pytest

from chrek_worker.adapters import vllm_inprocess

SOURCES = Path(__file__).parents[2] / ".cache" / "engines"


@pytest.mark.parametrize(
    ("path", "declared"),
    [
        ("vllm/engine/arg_utils.py", '"--disable-custom-all-reduce"'),
        ("vllm/engine/arg_utils.py", '"--enable-nccl-comm-suspend"'),
        ("vllm/envs.py", r'os\.getenv\("VLLM_ALLREDUCE_USE_SYMM_MEM"'),
        ("vllm/v1/engine/async_llm.py", r"async def checkpoint_prepare\(self\) -> None"),
        ("vllm/v1/engine/async_llm.py", r"async def checkpoint_restore\(self\) -> None"),
        (
            "vllm/distributed/device_communicators/cuda_communicator.py",
            "Only FlashInfer all-reduce and FlashInfer all2all are supported",
        ),
        ("sglang/srt/arg_groups/fields/exec_.py", r"^    disable_custom_all_reduce: "),
        ("sglang/srt/arg_groups/field_order.py", '"enable_symm_mem"'),
        ("sglang/srt/entrypoints/engine.py", r'"NCCL_CUMEM_ENABLE" not in os\.environ'),
    ],
)
def test_the_engines_have_what_is_said_of_them(path, declared):
    if not (SOURCES / path.partition("/")[0]).exists():
        pytest.skip("the engines' sources are not here: run scripts/fetch-engines (it downloads some 400 MB)")
    assert re.search(declared, (SOURCES / path).read_text(), re.MULTILINE)


class AsyncLlm:
    """An engine on several GPUs that knows checkpoints, as vLLM 0.33 does."""

    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        async def call(**_):
            self.said.append(name)

        return call


async def test_an_engine_takes_down_what_it_can_while_it_sleeps():
    engine = AsyncLlm()
    calls = vllm_inprocess.calls(engine, asyncio.get_running_loop())
    thread = threading.Thread(target=lambda: [call() for call in calls.values()])
    thread.start()
    await asyncio.to_thread(thread.join)
    assert engine.said == ["sleep", "checkpoint_prepare", "checkpoint_restore", "wake_up"]
