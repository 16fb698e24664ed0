"""The shim around a worker that is to be captured, as a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HASH = "5941a4cb3c363457"
WAIT = "import signal, sys; print('ready', flush=True); signal.pause()"


class Source:
    """A shim with its worker; the test plays the agent."""

    def __init__(self, directory):
        self.directory = directory
        self.done = directory / f"{HASH}.done"
        self.environment = {"DYN_CHECKPOINT_SIGNAL_FILE": str(self.done)}
        self.started = []

    def start(self, *command):
        words = [sys.executable, "-m", "chrek_worker", "--", *command]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, env=os.environ | self.environment, stdout=pipe, stderr=pipe, text=True)
        self.started.append(process)
        return process

    def python(self, code, ready=True):
        process = self.start(sys.executable, "-c", code)
        if ready:
            assert process.stdout.readline() == "ready\n"
        return process

    def tell(self, **content):
        temporary = self.directory / "temporary"
        temporary.write_text(json.dumps(content))
        temporary.rename(self.done)


@pytest.fixture
def source(tmp_path):
    found = Source(tmp_path)
    yield found
    for process in found.started:
        process.kill()
        process.communicate()


def end(process):
    output, errors = process.communicate(timeout=20)
    return process.returncode, output, errors


def test_a_worker_that_fails_before_its_capture_passes_its_code(source):
    code, _, errors = end(source.python("raise SystemExit(7)", ready=False))
    assert code == 7
    assert "chrek: the worker exited with code 7 before it was captured" in errors


def test_a_worker_that_ends_well_before_its_capture_is_a_failure_all_the_same(source):
    assert end(source.start("true"))[0] == 1


def test_a_worker_that_a_signal_ended(source):
    assert end(source.python("import os; os.kill(os.getpid(), 15)", ready=False))[0] == 128 + 15


def test_signals_go_to_the_worker(source):
    handler = "import signal, sys; signal.signal(10, lambda *_: sys.exit(33)); print('ready', flush=True); signal.pause()"
    process = source.python(handler)
    process.send_signal(signal.SIGUSR1)
    assert end(process)[0] == 33


def test_a_stop_of_the_pod_reaches_the_worker(source):
    process = source.python(WAIT)
    process.terminate()
    assert end(process)[0] == 143


def test_a_command_that_is_not_there(source):
    code, _, errors = end(source.start("/no/such/worker"))
    assert code == 127
    assert errors == "chrek: cannot start /no/such/worker: No such file or directory\n"


def test_a_captured_worker_that_leaves_by_itself(source):
    leave = "import signal, sys; signal.signal(10, lambda *_: sys.exit(5)); print('ready', flush=True); signal.pause()"
    process = source.python(leave)
    source.tell(success=True)
    process.send_signal(signal.SIGUSR1)
    assert end(process)[0] == 0


def test_a_captured_worker_that_stays_is_ended(source, monkeypatch):
    code = "import sys; from chrek_worker import shim; shim.LEAVE_SECONDS = 0.05; sys.exit(shim.main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "--", sys.executable, "-c", WAIT]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, env=os.environ | source.environment, stdout=pipe, stderr=pipe, text=True)
    source.started.append(process)
    assert process.stdout.readline() == "ready\n"
    source.tell(success=True)
    assert end(process) == (0, "", "")


def test_a_worker_that_refuses_to_end_is_killed(source):
    code = "import sys; from chrek_worker import shim; shim.KILL_SECONDS = 0.05; sys.exit(shim.main(sys.argv[1:]))"
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True)\nwhile True: signal.pause()"
    words = [sys.executable, "-c", code, "--", sys.executable, "-c", stubborn]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, env=os.environ | source.environment, stdout=pipe, stderr=pipe, text=True)
    source.started.append(process)
    assert process.stdout.readline() == "ready\n"
    source.tell(success=False, error="x")
    assert end(process)[0] == 1


def test_a_capture_that_failed_fails_the_pod_and_says_why(source):
    process = source.python(WAIT)
    source.tell(success=False, error="CRIU dump failed with exit code 1: no luck")
    code, _, errors = end(process)
    assert code == 1
    assert "chrek: capture failed: CRIU dump failed with exit code 1: no luck" in errors


def test_what_an_earlier_container_left_is_cleared_first(source, tmp_path):
    source.tell(success=True)
    ready, marker = tmp_path / "ready", tmp_path / "marker"
    ready.touch()
    marker.symlink_to("nowhere")
    source.environment |= {"DYN_READY_FOR_CHECKPOINT_FILE": str(ready), "DYN_RESTORE_MARKER_FILE": str(marker)}
    look = f"import os; raise SystemExit(40 + sum(map(os.path.lexists, {[str(source.done), str(ready), str(marker)]})))"
    assert end(source.python(look, ready=False))[0] == 40


DYNAMO = """
import pathlib, sys, time
directory, ready = pathlib.Path(sys.argv[1]), sys.argv[2]
assert not [name for name in ("ready-for-snapshot", "restore-complete") if (directory / name).exists()]
(directory / ready).write_text("ready")
print("ready", flush=True)
while not (directory / "snapshot-complete").exists():
    time.sleep(0.01)
print("left", flush=True)
"""


@pytest.mark.parametrize("ready", ["ready-for-snapshot", "ready-for-checkpoint"])
def test_dynamos_own_files_are_translated(source, tmp_path, ready):
    for name in ("ready-for-snapshot", "snapshot-complete", "restore-complete"):
        (tmp_path / name).touch()  # Of an earlier container.
    source.environment["DYN_READY_FOR_CHECKPOINT_FILE"] = str(tmp_path / "probed")
    process = source.start(sys.executable, "-c", DYNAMO, str(tmp_path), ready)
    assert process.stdout.readline() == "ready\n"
    while not (tmp_path / "probed").exists():
        assert process.poll() is None
        time.sleep(0.005)
    source.tell(success=True)
    assert end(process) == (0, "left\n", "")


def test_a_dynamo_worker_whose_capture_failed_is_not_told_to_leave(source, tmp_path):
    process = source.start(sys.executable, "-c", DYNAMO, str(tmp_path), "ready-for-snapshot")
    assert process.stdout.readline() == "ready\n"
    source.tell(success=False, error="no luck")
    assert end(process) == (1, "", "chrek: capture failed: no luck\n")


def test_the_worker_leads_a_session_and_has_no_signal_blocked_or_ignored(source):
    look = "import os; print(os.getsid(0) == os.getpid()); os.execlp('grep', 'grep', '-E', 'Sig(Blk|Ign)', '/proc/self/status')"
    # Without a flush the line would be lost in the exec.
    _, output, _ = end(source.start(sys.executable, "-u", "-c", look))
    found = output.split()
    assert found[0] == "True"
    # Python ignores SIGPIPE and SIGXFSZ before it execs grep, a shell's background job more: as we do, so does the worker.
    ignored = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn"))
    assert found[1:] == ["SigBlk:", "0" * 16, "SigIgn:", ignored]


def test_no_command_is_an_error_of_use(source):
    code, _, errors = end(source.start())
    assert code == 2
    assert "no command given" in errors
