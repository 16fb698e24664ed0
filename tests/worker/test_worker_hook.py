"""The hook by which a Python worker learns of its capture and its restore, in a real process."""

import json
import os
import random
import subprocess
import sys
import time

import pytest

from chrek_worker import hook
from chrek_worker.acceptance import accept, prepare
from chrek_worker.control import ControlDirectory

PROGRAM = """
import random, threading
from chrek_worker import hook
random.seed(3)
restored = threading.Event()
assert hook.install({calls})
print("installed", flush=True)
restored.wait()
print(random.random(), flush=True)
threading.Event().wait()
"""


@pytest.fixture
def hooked(tmp_path):
    started = []
    signals = {"DYN_CHECKPOINT_SIGNAL_FILE": str(tmp_path / "h.done"), "DYN_RESTORE_MARKER_FILE": str(tmp_path / "marker")}

    def start(calls):
        words = [sys.executable, "-c", PROGRAM.format(calls=calls)]
        process = subprocess.Popen(words, env=os.environ | signals, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "installed\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def of(process, path):
    """The file that the process itself writes."""
    return path.with_name(f"{path.name}.{process.pid}")


def said(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return json.loads(path.read_text())


def test_outside_a_source_there_is_nothing_to_watch(monkeypatch):
    monkeypatch.delenv("DYN_CHECKPOINT_SIGNAL_FILE", raising=False)
    assert hook.install() is False


def test_it_says_that_it_is_there_and_when_it_has_looked(hooked, tmp_path):
    process = hooked("on_restore=restored.set")
    assert said(of(process, tmp_path / "hook")) == {"pid": process.pid, "quiesces": False}
    assert not of(process, tmp_path / "refreshed").exists()
    (tmp_path / "marker").touch()
    assert float(process.stdout.readline()) != random.Random(3).random()
    assert said(of(process, tmp_path / "refreshed")) == {"ok": True}


def test_it_makes_the_process_small_when_it_is_told_to(hooked, tmp_path):
    process = hooked("before_capture=lambda: print('small', flush=True)")
    assert said(of(process, tmp_path / "hook"))["quiesces"] is True
    (tmp_path / "hush").touch()
    assert process.stdout.readline() == "small\n"
    assert said(of(process, tmp_path / "hushed")) == {"ok": True}


def test_what_a_call_raises_is_the_reason(hooked, tmp_path):
    process = hooked("before_capture=lambda: [][0], on_restore=lambda: {}['weights']")
    (tmp_path / "hush").touch()
    assert said(of(process, tmp_path / "hushed")) == {"ok": False, "reason": "IndexError: list index out of range"}
    (tmp_path / "marker").touch()
    assert said(of(process, tmp_path / "refreshed")) == {"ok": False, "reason": "KeyError: 'weights'"}


def test_of_two_processes_each_is_asked(hooked, tmp_path):
    one = hooked("before_capture=lambda: {'apart': 3}")
    two = hooked("before_capture=lambda: {'apart': 4}, on_restore=restored.set")
    control = ControlDirectory(str(tmp_path))
    control.write("hook.4194305", {"pid": 4194305, "quiesces": True})  # One that has ended.
    record = prepare(control, ["server"], {"adapter": "off", "seconds": 20})
    assert record["hook"] == sorted([f".{one.pid}", f".{two.pid}"])
    assert record["apart"] == 7
    (tmp_path / "marker").touch()
    assert accept(control, ["server"], {**record, "seconds": 20}) == {}
    control.clear("hook", "hushed", "refreshed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hush", "marker"]
