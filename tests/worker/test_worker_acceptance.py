"""What is recorded before a capture, and asked again after the restore."""

import pytest

from chrek_worker import acceptance
from chrek_worker.acceptance import accept, compare, prepare
from chrek_worker.adapters.errors import AdapterError


def request(server, **fields):
    return {"check": True, "readiness": {"httpGet": {"path": "/health", "port": server.port}}, **fields}


def test_an_engine_is_recorded_put_to_sleep_and_woken(engine, control):
    server = engine("vllm", developing=True)
    command = ["vllm", "serve", "m", "--enable-sleep-mode"]
    record = prepare(control, command, request(server))
    assert server.sleeping
    assert record["adapter"] == "vllm"
    assert record["answers"] == server.said
    assert accept(control, command, record | {"check": True}) == {}
    assert not server.sleeping


def test_another_answer_is_told_with_both(engine, control):
    server = engine("trtllm")
    record = prepare(control, ["trtllm-serve"], request(server))
    server.text = " London."
    with pytest.raises(AdapterError, match=r"POST /v1/completions: the restored worker answers ' London.*before.* Paris"):
        accept(control, ["trtllm-serve"], record | {"check": True})


def test_the_same_words_that_are_likely_otherwise_are_another_answer(engine, control):
    server = engine("trtllm")
    record = prepare(control, ["trtllm-serve"], request(server))
    server.likely = [-0.25, -1.25]
    with pytest.raises(AdapterError, match=r"logprobs of POST /v1/completions: .*\[-0.25, -1.25\].*before.*\[-0.25, -1.5\]"):
        accept(control, ["trtllm-serve"], record | {"check": True})


def test_one_that_is_not_to_be_asked_is_woken_all_the_same(engine, control):
    server = engine("vllm", developing=True)
    record = prepare(control, ["vllm", "serve", "--enable-sleep-mode"], request(server))
    server.text = "other"
    accept(control, ["vllm", "serve", "--enable-sleep-mode"], record | {"check": False})
    assert not server.sleeping


def test_nothing_is_recorded_where_nothing_is_to_be_asked(engine, control):
    server = engine("trtllm")
    assert prepare(control, ["trtllm-serve"], request(server, check=False))["answers"] == {}
    assert "POST /v1/completions" not in server.asked


def test_what_a_server_says_otherwise_each_time_is_no_measure(engine, control):
    server = engine("trtllm")
    said = iter(("one", "two"))
    server.completion = lambda _: (200, {"choices": [{"text": next(said)}]})
    record = prepare(control, ["trtllm-serve"], request(server))
    assert record["answers"] == {"GET /health": "200"}
    assert any("POST /v1/completions: the answer differs" in note for note in record["notes"])


def test_a_server_that_cannot_be_reached_from_inside_is_captured_as_it_is(engine, control):
    server = engine("plain")
    record = prepare(control, ["server"], request(server))
    assert record["answers"] == record["state"] == {}
    assert "answered 404" in record["notes"][0]


def test_a_probe_of_the_pods_own(engine, control):
    server = engine("plain")
    server.broken |= {"/health": (200, None), "/embed": (200, [0.25])}
    probe = {"path": "/embed", "port": server.port, "body": {"input": "x"}}
    record = prepare(control, ["server"], request(server, probe=probe))
    assert record["answers"]["POST /embed"] == "[0.25]"
    accept(control, ["server"], record | {"check": True})
    server.broken["/embed"] = (200, [0.5])
    with pytest.raises(AdapterError, match="POST /embed"):
        accept(control, ["server"], record | {"check": True})


def test_a_probe_that_fails_before_the_capture_is_the_users_to_mend(engine, control):
    server = engine("plain")
    with pytest.raises(AdapterError, match="GET /nothing: the server answered 404"):
        prepare(control, ["server"], request(server, probe={"path": "/nothing", "port": server.port}))


def test_a_long_answer_is_known_by_its_digest(engine, control):
    server = engine("plain")
    server.broken |= {"/health": (200, None), "/embed": (200, list(range(1000)))}
    record = prepare(control, ["server"], request(server, probe={"path": "/embed", "port": server.port}))
    assert len(record["answers"]["GET /embed"]) == 64


def test_a_server_that_is_slow_to_come_back_is_waited_for(engine, control, monkeypatch):
    server = engine("trtllm")
    record = prepare(control, ["trtllm-serve"], request(server))
    server.broken["/health"] = (503, None)
    monkeypatch.setattr(acceptance.time, "sleep", lambda _: server.broken.clear())
    accept(control, ["trtllm-serve"], record | {"check": True})


def test_a_server_that_does_not_come_back_is_not_well(engine, control, monkeypatch):
    server = engine("trtllm")
    record = prepare(control, ["trtllm-serve"], request(server))
    server.broken["/health"] = (503, None)
    monkeypatch.setattr(acceptance, "READY_SECONDS", 0.0)
    with pytest.raises(AdapterError, match="GET /health: the server answered 503"):
        accept(control, ["trtllm-serve"], record | {"check": True})


def test_a_hook_is_waited_for(control):
    control.write("hook", {"pid": 1})
    record = prepare(control, ["server"], {"adapter": "off"})
    assert record["hook"]
    with pytest.raises(AdapterError, match="hook did not answer in time"):
        accept(control, ["server"], record)
    control.write("refreshed", {"ok": False, "reason": "no weights"})
    with pytest.raises(AdapterError, match="hook: no weights"):
        accept(control, ["server"], record)
    control.write("refreshed", {"ok": True})
    assert accept(control, ["server"], record) == {}


def test_a_hook_that_makes_its_worker_small_is_told_to(control):
    control.write("hook", {"pid": 1, "quiesces": True})
    with pytest.raises(AdapterError, match="hook did not answer in time"):
        prepare(control, ["server"], {"adapter": "off"})
    assert control.read("hush") == {}
    control.write("hushed", {"ok": True})
    assert prepare(control, ["server"], {"adapter": "off"})["hook"]


def test_what_is_not_answered_any_more():
    compare({"a": "1"}, {"a": "1", "b": "2"})
    with pytest.raises(AdapterError, match="a: the restored worker answers nothing, before the capture it was '1'"):
        compare({"a": "1"}, {})
