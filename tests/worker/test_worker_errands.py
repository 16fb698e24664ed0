"""Requests of the agent, answered by a real shim; the test plays the agent."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from chrek_worker.adapters.errors import AdapterError
from chrek_worker.errands import Errands

WAIT = "import signal; print('ready', flush=True); signal.pause()"


@pytest.fixture
def source(tmp_path):
    environment = os.environ | {"DYN_CHECKPOINT_SIGNAL_FILE": str(tmp_path / "hash.done")}
    words = [sys.executable, "-m", "chrek_worker", "--", sys.executable, "-c", WAIT]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield tmp_path
        process.kill()


def ask(directory, token, **fields):
    (directory / "new").write_text(json.dumps({"id": token, **fields}))
    (directory / "new").rename(directory / "quiesce")
    return answer(directory, token)


def answer(directory, token):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        path = directory / "quiesced"
        found = json.loads(path.read_text()) if path.exists() else {}
        if found.get("id") == token:
            return found
        time.sleep(0.01)
    raise AssertionError("no answer")


def test_a_source_says_that_it_can_be_asked_and_answers(source, engine):
    assert json.loads((source / "source").read_text())["protocol"] == 1
    server = engine("vllm", developing=True)
    fields = {"adapter": "vllm", "readiness": {"httpGet": {"port": server.port}}, "check": True, "seconds": 20}
    found = ask(source, "a", **fields)
    assert found["ok"]
    assert found["answers"]["POST /v1/completions"] == server.text
    asked = len(server.asked)
    assert ask(source, "b", **fields) == found | {"id": "b"}
    assert len(server.asked) == asked  # A second agent gets the same answer: nothing is done twice.


def test_a_refusal_has_its_reason_and_may_be_followed_by_another_try(source):
    assert "no adapter 'x'" in ask(source, "a", adapter="x", seconds=20)["reason"]
    assert ask(source, "b", adapter="off", seconds=20)["ok"]


def test_a_server_that_hangs_is_not_waited_for_longer_than_said(source):
    found = ask(source, "a", adapter="plain", readiness={"exec": {"command": ["sleep", "60"]}}, check=True, seconds=0.2)
    assert (found["ok"], found["reason"]) == (False, "the server did not answer in time")


def test_a_child_that_is_killed_is_told_of(control, tmp_path):
    def work(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    assert attended(control, work)["reason"] == "the adapter ended without a word"


@pytest.mark.parametrize(("error", "reason"), [(AdapterError("not well"), "not well"), (ValueError("odd"), "ValueError: odd")])
def test_an_error_becomes_the_reason(control, error, reason):
    def work(*_):
        raise error

    assert attended(control, work) == {"ok": False, "reason": reason, "id": 1}


def test_a_long_answer_comes_whole(control):
    assert len(attended(control, lambda *_: {"text": "x" * 300_000})["text"]) == 300_000


def test_no_child_is_left_when_the_answer_is_there(control, monkeypatch):
    children, fork = [], os.fork

    def noted():
        child = fork()
        if child:
            children.append(child)
        return child

    monkeypatch.setattr(os, "fork", noted)
    attended(control, lambda *_: {})
    assert children
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def attended(control, work):
    control.write("question", {"id": 1, "seconds": 20})
    errands = Errands(control, "question", "answer", work, [])
    while control.read("answer") is None:
        errands.attend()
    return control.read("answer")
