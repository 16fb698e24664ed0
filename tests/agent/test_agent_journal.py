"""What a killed agent left half done is undone: by the next agent, and before that by its guardian."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from chrek_agent.container import processes
from chrek_agent.journal import Entry, record, recover

# PID 1 with two processes below it, one of them a grandchild.
TREE = """
import os, signal
if os.fork() == 0:
    if os.fork() == 0:
        signal.pause()
    print("ready", flush=True)
    signal.pause()
signal.pause()
"""


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal"
    path.mkdir()
    return path


@pytest.fixture
def namespace(pid_namespace):
    return pid_namespace(TREE)


@pytest.fixture
def dead():
    """PID and start of a process that is gone."""
    with subprocess.Popen(["sleep", "300"]) as process:
        start = processes.read_process(process.pid).start
        process.kill()
    return process.pid, start


def left_by(agent, journal, container, kind, **more):
    entry = Entry(kind, agent[0], agent[1], container.id, container.name, container.init, container.init_start, **more)
    path = journal / "operation.json"
    path.write_text(json.dumps(asdict(entry)))
    return path


def eventually(condition):
    """Signals take a moment to arrive."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def running(namespace):
    """Those beside PID 1 that are not dead: a PID 1 that reaps nobody keeps them as zombies."""
    return [process for process in namespace.others() if process.state != "Z"]


def stop(namespace):
    for process in namespace.others():
        os.kill(process.pid, signal.SIGSTOP)
    eventually(lambda: all(process.state == "T" for process in namespace.others()))


def test_an_operation_is_on_disk_while_it_runs(tmp_path, make_container):
    journal, staging = tmp_path / "new" / "journal", tmp_path / "staging"
    with record(journal, "capture", make_container()) as entry:
        entry.staged(staging)
        entry.criu_started(os.getpid())
        (path,) = journal.glob("*.json")
        content = json.loads(path.read_text())
        assert recover(journal) == 0
        assert path.exists()
    assert list(journal.iterdir()) == []
    me = processes.read_process(os.getpid())
    assert (content["kind"], content["agent"], content["agent_start"]) == ("capture", me.pid, me.start)
    assert (content["staging"], content["group"], content["group_start"]) == ([str(staging)], me.pid, me.start)


def test_huge_pages_that_a_dead_agent_has_turned_on_are_turned_back(journal, dead, make_container, tmp_path):
    switch = tmp_path / "enabled"
    switch.write_text("[always] madvise never")
    left_by(dead, journal, make_container(), "capture", huge_pages=str(switch))
    assert recover(journal) == 1
    assert switch.read_text() == "madvise"


def test_an_operation_that_fails_leaves_no_entry(journal, make_container):
    with pytest.raises(KeyError), record(journal, "restore", make_container()):
        raise KeyError
    assert list(journal.iterdir()) == []


def test_a_captured_worker_goes_on_and_its_staging_is_removed(namespace, journal, dead, make_container, tmp_path):
    staging = tmp_path / "staging"
    (staging / "images").mkdir(parents=True)
    stop(namespace)
    path = left_by(dead, journal, make_container(namespace.init), "capture", staging=[str(staging)])
    assert recover(journal) == 1
    eventually(lambda: [process.state for process in namespace.others()] == ["S", "S"])
    assert not staging.exists()
    assert not path.exists()


def test_a_half_restored_worker_is_ended_and_its_pod_starts_cold(namespace, journal, dead, make_container, signal_directory):
    stop(namespace)
    path = left_by(dead, journal, make_container(namespace.init), "restore")
    assert recover(journal) == 1
    eventually(lambda: not running(namespace))
    assert processes.read_process(namespace.init) is not None
    outcome = json.loads((signal_directory / "outcome").read_text())
    assert outcome == {"result": "cold", "reason": "the agent died during the restore"}
    assert not path.exists()


def test_a_half_restored_worker_is_ended_even_if_nothing_can_be_written(namespace, journal, dead, make_container, signal_directory):
    signal_directory.rmdir()
    left_by(dead, journal, make_container(namespace.init), "restore")
    recover(journal)
    eventually(lambda: not running(namespace))


def test_a_restore_that_was_committed_goes_on(namespace, journal, dead, make_container, signal_directory):
    (signal_directory / "outcome").write_text('{"result": "restored", "pid": 2}')
    stop(namespace)
    left_by(dead, journal, make_container(namespace.init), "restore")
    recover(journal)
    eventually(lambda: [process.state for process in namespace.others()] == ["S", "S"])


def test_a_worker_that_the_shim_has_started_cold_is_not_harmed(namespace, journal, dead, make_container, signal_directory):
    (signal_directory / "outcome").write_text('{"result": "cold", "reason": "the restore did not finish within 1 s"}')
    (left_over, *cold) = namespace.others()
    os.kill(left_over.pid, signal.SIGSTOP)
    eventually(lambda: processes.read_process(left_over.pid).state == "T")
    left_by(dead, journal, make_container(namespace.init), "restore")
    recover(journal)
    eventually(lambda: left_over.pid not in [process.pid for process in running(namespace)])
    assert len(cold) == 1
    assert processes.read_process(cold[0].pid).state == "S"


def test_nobody_beside_a_container_is_told_to_go_on(journal, dead, make_container):
    """SIGCONT to each process of a node would go on into its containers: `runc run` passes it on."""
    with subprocess.Popen(["sleep", "300"]) as other:
        os.kill(other.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        left_by(dead, journal, make_container(), "capture")
        count = recover(journal)
        told = os.waitid(os.P_PID, other.pid, os.WCONTINUED | os.WNOHANG)
        other.kill()
    assert (count, told) == (1, None)


def test_criu_itself_is_ended(journal, dead, make_container):
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as criu:
        start = processes.read_process(criu.pid).start
        container = make_container(criu.pid)
        left_by(dead, journal, container, "capture", group=criu.pid, group_start=start)
        recover(journal)
        assert criu.wait() == -signal.SIGKILL


def test_numbers_that_are_used_again_are_not_mistaken(journal, dead, make_container):
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as other:
        start = processes.read_process(other.pid).start
        container = make_container(other.pid)
        left_by(dead, journal, container, "capture", group=other.pid, group_start=start - 1)
        recover(journal)
        assert other.poll() is None
        left_by((os.getpid(), processes.read_process(os.getpid()).start - 1), journal, container, "capture")
        assert recover(journal) == 1
        other.kill()


def test_the_entry_of_a_living_agent_is_left_alone(journal, make_container, tmp_path):
    staging = tmp_path / "staging"
    staging.mkdir()
    me = processes.read_process(os.getpid())
    path = left_by((me.pid, me.start), journal, make_container(), "capture", staging=[str(staging)])
    assert recover(journal) == 0
    assert path.exists()
    assert staging.exists()


def test_an_agent_that_waits_to_be_reaped_is_dead(journal, make_container):
    agent = subprocess.Popen(["sleep", "300"])
    try:
        start = processes.read_process(agent.pid).start
        left_by((agent.pid, start), journal, make_container(), "capture")
        agent.kill()
        os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
        assert recover(journal) == 1
    finally:
        agent.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff", b'{"kind": "capture"}', b'{"surprise": 1}'])
def test_a_damaged_entry_is_removed_and_the_next_is_undone(journal, dead, make_container, content):
    (journal / "damaged.json").write_bytes(content)
    left_by(dead, journal, make_container(), "capture")
    assert recover(journal) == 1
    assert list(journal.iterdir()) == []


def guardian(journal, **options):
    command = [sys.executable, "-m", "chrek_agent.guardian", str(journal)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, **options)


def test_the_guardian_waits_for_the_end_of_its_agent(journal, dead, make_container, tmp_path):
    staging = tmp_path / "staging"
    staging.mkdir()
    with guardian(journal, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"still here")
        process.stdin.flush()
        path = left_by(dead, journal, make_container(), "capture", staging=[str(staging)])
        assert process.poll() is None
        assert path.exists()
        process.stdin.close()
        assert process.wait(10) == 0
    assert not path.exists()
    assert not staging.exists()


def test_the_guardian_of_an_agent_that_stops_in_order_ends_at_once(journal):
    with guardian(journal, stdin=subprocess.PIPE) as process:
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_guardian_acts_when_its_agent_is_killed_before_anybody_reaps_it(journal, make_container):
    """End of file comes while the agent is still dying: its entry must not be taken for a living agent's."""
    reading, writing = os.pipe()
    agent = subprocess.Popen(["sleep", "300"], pass_fds=[writing])
    os.close(writing)
    try:
        path = left_by((agent.pid, processes.read_process(agent.pid).start), journal, make_container(), "capture")
        with guardian(journal, stdin=reading) as process:
            os.close(reading)
            agent.kill()
            assert process.wait(10) == 0
        assert not path.exists()
    finally:
        agent.wait()
