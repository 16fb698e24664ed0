"""The shim in a pod that waits to be restored: PID 1 of a namespace of its own, with the test as its agent."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chrek_agent.container import processes

ORPHAN = """
import os, signal
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(21))
    os.closerange(0, 3)
    os.write(writer, b"x")
    while True:
        signal.pause()
os.read(reader, 1)
print(child)
"""


class Target:
    """A shim as PID 1."""

    def __init__(self, directory):
        self.directory = directory
        self.environment = {"CHREK_CONTROL_DIR": str(directory), "CHREK_CLAIM_SECONDS": "0.2", "CHREK_RESTORE_SECONDS": "0.2"}
        self.started = []

    def start(self, *command, prefix=("unshare", "-p", "-f", "--mount-proc"), program=("-m", "chrek_worker")):
        words = [*prefix, sys.executable, *program, "--", *command]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DYN_")} | self.environment
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe, text=True)
        self.started.append(process)
        return process

    def file(self, name):
        """Waits until the shim has written it."""
        deadline = time.monotonic() + 10
        while not (self.directory / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return json.loads((self.directory / name).read_text())

    def write(self, name, content):
        temporary = self.directory / f".test-{name}"
        temporary.write_text(json.dumps(content))
        temporary.rename(self.directory / name)

    def init(self, process):
        """The host's number of PID 1."""
        return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@pytest.fixture
def target(tmp_path, as_root):
    found = Target(tmp_path)
    yield found
    for process in found.started:
        if process.poll() is None:
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        process.communicate(timeout=20)


def end(process):
    output, errors = process.communicate(timeout=20)
    return process.returncode, output, errors


def test_without_an_agent_it_starts_cold(target):
    code, output, errors = end(target.start("sh", "-c", "echo cold $$; exit 9"))
    assert (code, output) == (9, "cold 1\n")
    assert errors == "chrek: Falling back to cold start: no agent answered within 0.2 s\n"
    assert target.file("outcome") == {"result": "cold", "reason": "no agent answered within 0.2 s"}


def test_it_says_which_container_waits(target):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("true")
    waiting = target.file("waiting")
    stat = Path(f"/proc/{target.init(process)}/stat").read_text()
    assert waiting == {"start": int(stat.rpartition(")")[2].split()[19]), "protocol": 1}


def test_the_agents_word_is_taken_at_once(target):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("sh", "-c", "exit 4")
    target.file("waiting")
    target.write("outcome", {"result": "cold", "reason": "checkpoint x is Creating"})
    code, _, errors = end(process)
    assert code == 4
    assert errors == "chrek: Falling back to cold start: checkpoint x is Creating\n"


@pytest.mark.parametrize("content", ['"text"', "{}", "{", '{"result": "surprise"}'])
def test_a_word_that_makes_no_sense_is_cold(target, content):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("true")
    target.file("waiting")
    (target.directory / "outcome").write_text(content)
    code, _, errors = end(process)
    assert code == 0
    assert "Falling back to cold start: no reason given" in errors


def test_an_outcome_that_cannot_be_read_is_cold(target):
    process = target.start("true")
    target.file("waiting")
    (target.directory / "outcome").mkdir()
    assert end(process)[0] == 0


def test_what_an_earlier_container_left_does_not_count(target):
    target.write("outcome", {"result": "restored", "pid": 7})
    target.write("claim", {"checkpoint": "x"})
    assert "no agent answered within 0.2 s" in end(target.start("true"))[2]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_claim_that_comes_to_nothing_is_cold_and_nothing_is_left_of_it(target, stopped):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("sh", "-c", "echo cold; exit 3")
    target.file("waiting")
    enter(target, process)
    init = target.init(process)
    (left_over,) = [member for member in processes.namespace_members(init) if member.pid != init]
    gone = os.pidfd_open(left_over.pid)
    if stopped:
        os.kill(left_over.pid, signal.SIGSTOP)
    target.write("claim", {"checkpoint": "x"})
    assert process.stdout.readline() == "cold\n"
    assert select.select([gone], [], [], 10)[0] == [gone]
    os.close(gone)
    code, _, errors = end(process)
    assert code == 3
    assert errors == "chrek: Falling back to cold start: the restore did not finish within 0.2 s\n"


def enter(target, process):
    """An orphan inside that no one there has started, as a detached restore leaves it; returns its number there."""
    words = ["nsenter", "-t", str(target.init(process)), "-p", "-m", "--", sys.executable, "-c", ORPHAN]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def restored(target):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("true")
    target.file("waiting")
    target.write("outcome", {"result": "restored", "pid": enter(target, process)})
    return process


def until_it_ends(process, init, number):
    """What comes before the shim has seen the outcome is for nobody, so the signal is sent again."""
    gone = os.pidfd_open(init)
    deadline = time.monotonic() + 10
    while not select.select([gone], [], [], 0.02)[0]:
        assert time.monotonic() < deadline
        os.kill(init, number)
    os.close(gone)


def test_signals_go_down_to_a_restored_worker_and_its_code_comes_up(target):
    process = restored(target)
    until_it_ends(process, target.init(process), signal.SIGUSR1)
    assert end(process) == (21, "", "chrek: restored from checkpoint of unknown name\n")


def test_a_restored_worker_that_a_signal_ends(target):
    process = restored(target)
    until_it_ends(process, target.init(process), signal.SIGHUP)
    assert end(process)[0] == 128 + signal.SIGHUP


def test_a_restored_worker_that_is_gone_ends_the_pod(target):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("true")
    target.file("waiting")
    target.write("outcome", {"result": "restored", "pid": 4000})
    code, _, errors = end(process)
    assert code == 1
    assert errors.splitlines()[-1] == "chrek: the restored worker (PID 4000) is gone"


def test_a_pod_that_is_stopped_while_it_waits_ends(target):
    target.environment["CHREK_CLAIM_SECONDS"] = "60"
    process = target.start("echo", "never")
    target.file("waiting")
    os.kill(target.init(process), signal.SIGTERM)
    code, output, _ = end(process)
    assert (code, output) == (143, "")
    assert target.file("outcome") == {"result": "cold", "reason": "the pod is being stopped"}


def test_without_a_control_directory_it_starts_cold(target, tmp_path):
    target.environment["CHREK_CONTROL_DIR"] = str(tmp_path / "none")
    code, output, errors = end(target.start("echo", "cold"))
    assert (code, output) == (0, "cold\n")
    assert (
        errors
        == f"chrek: Falling back to cold start: the control directory {tmp_path}/none is not usable: No such file or directory\n"
    )


def test_a_disk_that_is_full_at_the_deadline_does_not_stop_the_cold_start(target):
    code = """
import errno, sys
from chrek_worker import control, shim
def full(*_): raise OSError(errno.ENOSPC, "No space left on device")
control.ControlDirectory.decide = full
sys.exit(shim.main(sys.argv[1:]))
"""
    found, output, errors = end(target.start("echo", "cold", program=("-c", code)))
    assert (found, output) == (0, "cold\n")
    assert "no agent answered within 0.2 s" in errors


def test_where_it_is_not_pid_1_it_starts_cold(target):
    code, output, errors = end(target.start("echo", "cold", prefix=()))
    assert (code, output) == (0, "cold\n")
    assert "Falling back to cold start: the shim is not PID 1" in errors
    assert not (target.directory / "waiting").exists()


def test_a_restored_dynamo_worker_finds_its_new_pods_environment(target):
    for name in ("ready-for-snapshot", "snapshot-complete"):
        (target.directory / name).touch()
    target.environment |= {"CHREK_CLAIM_SECONDS": "60", "POD_NAME": "new", "NATS_SERVER": "nats://n", "API_KEY": "secret"}
    process = target.start("true")
    target.file("waiting")
    context = target.file("restore-context.json")["env"]
    assert {"POD_NAME": "new", "NATS_SERVER": "nats://n"}.items() <= context.items()
    assert not {"API_KEY", "POD_UID", "PATH"} & context.keys()
    assert (target.directory / "restore-complete").exists()
    assert not [name for name in ("ready-for-snapshot", "snapshot-complete") if (target.directory / name).exists()]
    target.write("outcome", {"result": "cold", "reason": "enough"})
    end(process)


def test_a_cold_dynamo_worker_is_not_told_to_wait_for_a_capture(target):
    target.environment |= {"DYN_SNAPSHOT_CONTROL_DIR": "/x", "DYN_READY_FOR_CHECKPOINT_FILE": "/y", "DYN_CHECKPOINT_HASH": "z"}
    _, output, _ = end(target.start("env", prefix=()))
    assert {line.partition("=")[0] for line in output.splitlines() if line.startswith("DYN_")} == {"DYN_CHECKPOINT_HASH"}


def test_a_cold_command_that_is_not_there(target):
    code, _, errors = end(target.start("/no/such/worker", prefix=()))
    assert code == 127
    assert errors.endswith("chrek: cannot start /no/such/worker: No such file or directory\n")


def test_the_cold_worker_has_no_signal_blocked_or_ignored(target):
    _, output, _ = end(target.start("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", prefix=()))
    words = output.split()
    assert words[:3] == ["SigBlk:", "0" * 16, "SigIgn:"]
    # The C library keeps two signals to itself, and what has set them to be ignored before us nobody can undo.
    assert not [number for number in signal.valid_signals() if int(words[3], 16) >> number - 1 & 1]
