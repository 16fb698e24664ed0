"""Which adapter a worker gets."""

import pytest

from chrek_worker.adapters.choice import choose
from chrek_worker.adapters.contract import Worker
from chrek_worker.adapters.errors import AdapterError


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["vllm", "serve", "m"], "vllm"),
        (["/usr/local/bin/vllm", "serve", "m"], "vllm"),
        (["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"], "vllm"),
        (["/bin/sh", "-c", "exec vllm serve m --port 80"], "vllm"),
        (["sglang", "serve", "--model-path", "m"], "sglang"),
        (["python3", "-m", "sglang.launch_server"], "sglang"),
        (["trtllm-serve", "m"], "trtllm"),
        (["python3", "-m", "tensorrt_llm.commands.serve"], "trtllm"),
        (["python3", "-m", "dynamo.sglang"], "dynamo"),
        (["/bin/bash", "-c", "python3 -m dynamo.vllm --model m"], "dynamo"),
        (["/bin/sh", "-c", "echo it's 'vllm'"], "plain"),
        (["python3", "server.py", "vllm"], "plain"),
        ([], "plain"),
    ],
)
def test_the_command_says(command, name):
    assert choose(Worker(command, environment={})) == name


@pytest.mark.parametrize("name", ["vllm", "sglang", "trtllm"])
def test_a_server_behind_a_script_says_whose_models_it_has(engine, name):
    server = engine(name, **({"developing": False} if name == "vllm" else {}))
    readiness = {"httpGet": {"path": "/health", "port": server.port}}
    assert choose(Worker(["/start.sh"], name, readiness, {})) == name
    other = "sglang" if name == "vllm" else "vllm"
    assert choose(Worker(["/start.sh"], other, readiness, {})) == "plain"


def test_a_server_that_is_no_engine_stays_plain(engine):
    server = engine("plain")
    assert choose(Worker(["/start.sh"], "vllm", {"httpGet": {"path": "/", "port": server.port}}, {})) == "plain"
    server.broken["/v1/models"] = (200, {"data": "nothing"})
    assert choose(Worker(["/start.sh"], "vllm", {"httpGet": {"path": "/", "port": server.port}}, {})) == "plain"


def test_annotation_before_environment_before_command():
    worker = Worker(["vllm", "serve"], environment={"CHREK_ADAPTER": "sglang"})
    assert choose(worker) == "sglang"
    assert choose(worker, "trtllm") == "trtllm"
    assert choose(worker, "off") == ""
    with pytest.raises(AdapterError, match="no adapter 'vlm': give one of vllm, sglang, trtllm, dynamo, plain, or off"):
        choose(worker, "vlm")


@pytest.mark.parametrize(
    ("command", "port"),
    [
        (["--port", "81"], 81),
        (["--port=81"], 81),
        (["--port", "81", "--port", "82"], 82),
        (["sh", "-c", "vllm serve m --port 83"], 83),
        (["--port", "$PORT"], 80),
        (["--port"], 80),
    ],
)
def test_where_the_server_listens(command, port):
    assert Worker(command, readiness={"httpGet": {"port": 80}}).port(8000) == port
    assert Worker(["x"], readiness={"httpGet": {"port": "http"}}).port(8000) == 8000


def test_flags_in_either_spelling():
    assert Worker(["--enable_sleep_mode"]).flag("--enable-sleep-mode")
    assert Worker(["--api_key=a"]).option("--api-key") == "a"
