"""The adapters, each against a server that answers as its engine does."""

import socket

import pytest

from chrek_worker.adapters import dynamo, plain, sglang, trtllm, vllm
from chrek_worker.adapters.contract import Worker
from chrek_worker.adapters.errors import AdapterError


def test_vllm_sleeps_and_wakes_up(engine, worker_of):
    server = engine("vllm", developing=True)
    worker, notes = worker_of(server, "vllm", "serve", "m", "--enable-sleep-mode"), []
    vllm.ready(worker)
    before = vllm.check(worker)
    state = vllm.quiesce(worker, notes)
    assert server.sleeping
    assert notes == []
    assert vllm.quiesce(worker, notes) == state == {"sleeping": True}
    vllm.resume(worker, state)
    assert not server.sleeping
    assert vllm.check(worker) == before == server.said


def test_vllm_without_sleep_mode_is_paused(engine, worker_of):
    server, notes = engine("vllm", developing=True), []
    worker = worker_of(server, "vllm", "serve", "m")
    state = vllm.quiesce(worker, notes)
    assert server.paused
    assert "--enable-sleep-mode" in notes[0]
    vllm.resume(worker, state)
    assert not server.paused
    assert "POST /sleep?level=1&mode=wait" not in server.asked


def test_vllm_without_its_development_routes_is_captured_awake(engine, worker_of):
    server, notes = engine("vllm", developing=False), []
    worker = worker_of(server, "vllm", "serve", "m", "--enable-sleep-mode")
    assert vllm.quiesce(worker, notes) == {}
    assert "VLLM_SERVER_DEV_MODE" in notes[0]
    vllm.resume(worker, {})
    assert server.asked == ["GET /is_sleeping"]


@pytest.mark.parametrize(("command", "environment"), [(["--api-key", "k"], {}), (["--api-key=k"], {}), ([], {"VLLM_API_KEY": "k"})])
def test_vllm_is_asked_with_its_key(engine, worker_of, command, environment):
    server = engine("vllm", developing=False)
    server.key = "k"
    assert "POST /v1/completions" in vllm.check(worker_of(server, *command, environment=environment))
    assert vllm.check(worker_of(server)) == {"GET /health": "200"}


def test_vllm_that_fails_to_sleep_is_not_captured(engine, worker_of):
    server = engine("vllm", developing=True)
    server.broken["/sleep"] = (500, {"error": "out of memory"})
    with pytest.raises(AdapterError, match=r"POST /sleep.*: the server answered 500 .*out of memory"):
        vllm.quiesce(worker_of(server, "--enable-sleep-mode"), [])


def test_vllm_that_does_not_wake_up_is_not_well(engine, worker_of):
    server = engine("vllm", developing=True)
    server.sleeping = True
    server.broken["/wake_up"] = (200, {"status": "sleeping"})
    with pytest.raises(AdapterError, match="still sleeps"):
        vllm.resume(worker_of(server), {"sleeping": True})


@pytest.mark.parametrize(
    ("flags", "released"),
    [
        (["--enable-memory-saver"], ["kv_cache"]),
        (["--enable-memory-saver", "--enable-weights-cpu-backup"], ["kv_cache", "weights"]),
    ],
)
def test_sglang_releases_what_it_gets_back(engine, worker_of, flags, released):
    server = engine("sglang")
    worker = worker_of(server, "python3", "-m", "sglang.launch_server", *flags)
    state = sglang.quiesce(worker, [])
    assert server.paused
    assert server.released == released
    sglang.resume(worker, state)
    assert not server.paused
    assert server.released == []
    assert sglang.check(worker) == {"GET /health": "200", "POST /generate": server.text}


def test_sglang_without_its_memory_saver_is_left_alone(engine, worker_of):
    server, notes = engine("sglang"), []
    assert sglang.quiesce(worker_of(server, "sglang", "serve"), notes) == {}
    assert server.asked == []
    assert "--enable-memory-saver" in notes[0]


def test_sglang_is_asked_with_its_keys(engine, worker_of):
    server = engine("sglang")
    server.key = "k"
    worker = worker_of(server, "--api-key", "k", "--enable-memory-saver")
    assert "POST /generate" in sglang.check(worker)
    assert sglang.quiesce(worker, []) == {"released": ["kv_cache"]}


def test_trtllm_is_asked_and_left_as_it_is(engine, worker_of):
    server, notes = engine("trtllm"), []
    worker = worker_of(server, "trtllm-serve", "m")
    trtllm.ready(worker)
    assert trtllm.quiesce(worker, notes) == {}
    trtllm.resume(worker, {})
    assert trtllm.check(worker) == server.said
    assert not any("memory" in asked for asked in server.asked)


def test_a_server_that_tells_no_likelihoods_is_asked_without(engine, worker_of):
    server = engine("vllm", developing=False)
    server.likely = []
    assert vllm.check(worker_of(server)) == {"GET /health": "200", "POST /v1/completions": server.text}
    assert ["logprobs" in body for request, body in server.sent if request == "POST /v1/completions"] == [True, False]


@pytest.mark.parametrize("adapter", [vllm, sglang, trtllm])
def test_an_engine_that_is_not_there(unused_port, adapter):
    with pytest.raises(AdapterError, match=f"GET /health on port {unused_port}"):
        adapter.ready(Worker(["--port", str(unused_port)]))


@pytest.mark.parametrize("adapter", [vllm, sglang, trtllm])
def test_an_engine_whose_generation_fails_is_not_well(engine, worker_of, adapter):
    server = engine("vllm", developing=False)
    server.broken |= dict.fromkeys(("/v1/completions", "/generate"), (500, {"error": "dead"}))
    with pytest.raises(AdapterError, match="answered 500"):
        adapter.check(worker_of(server))


def test_a_plain_server_is_what_its_readiness_probe_says(engine):
    server = engine("plain")
    server.broken["/healthz"] = (204, None)
    http = Worker([], readiness={"httpGet": {"path": "/healthz", "port": server.port}})
    assert plain.check(http) == {f"GET /healthz on port {server.port}": "well"}
    assert plain.check(Worker([], readiness={"tcpSocket": {"port": server.port}})) == {f"TCP port {server.port}": "open"}
    assert plain.check(Worker([], readiness={"exec": {"command": ["true"]}})) == {"exec true": "0"}
    assert plain.check(Worker([])) == plain.quiesce(http, []) == {}


def test_a_plain_server_that_is_not_ready(engine, unused_port):
    server = engine("plain")
    for readiness, reason in (
        ({"httpGet": {"path": "/", "port": server.port}}, "answered 404"),
        ({"httpGet": {"path": "/", "port": unused_port}}, "refused"),
        ({"tcpSocket": {"port": unused_port}}, "refused"),
        ({"exec": {"command": ["false"]}}, "false ended with 1"),
        ({"exec": {"command": ["/no/such/program"]}}, "No such file"),
    ):
        with pytest.raises(AdapterError, match=reason):
            plain.ready(Worker([], readiness=readiness))


def test_the_ready_file_that_a_restored_worker_removes_is_not_asked_for():
    assert plain.check(Worker([], readiness={"exec": {"command": ["cat", "/tmp/checkpoint-ready"]}})) == {}


def test_dynamos_own_workers_do_it_themselves():
    worker = Worker(["python3", "-m", "dynamo.vllm"])
    dynamo.ready(worker)
    dynamo.resume(worker, {})
    assert dynamo.quiesce(worker, []) == dynamo.check(worker) == {}


@pytest.fixture
def unused_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: nobody else gets it, and nobody answers.
        yield taken.getsockname()[1]
