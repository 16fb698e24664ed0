"""Agent and CRIU killed at every step of a capture and a restore: the source serves, the target starts, nothing is left behind.

The steps are the journal's own list, and a real run tells how long CRIU takes: nothing is picked by hand.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from light_agent import LightAgent
from light_container import PROGRAMS, until

from chrek_agent.journal import STEPS, recover

WORKER = ["/usr/bin/python3", str(PROGRAMS / "features.py"), "threads", "pipes", "loopback_tcp", "posix_ipc", "deleted_files"]
MOMENTS = [0.0, 0.25, 0.5, 0.75, 0.95]
"""When CRIU is killed, as parts of the time it takes."""


class Agents:
    """Processes that capture and restore, all with the same state directory."""

    def __init__(self, state):
        self.state = state
        self.agent = LightAgent.at(state)
        command = [sys.executable, str(Path(__file__).with_name("agent_process.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, kind, box, **more):
        container = asdict(box.container) | {"cgroups": [str(path) for path in box.container.cgroups]}
        order = {"kind": kind, "state": str(self.state), "pod": box.pod, "container": container, **more}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def agents(light_state):
    agents = Agents(light_state / "kill")
    yield agents
    agents.close()


@pytest.fixture(scope="module")
def source(yard):
    with yard.source(WORKER) as box:
        serves(box)
        yield box


@pytest.fixture(scope="module")
def whole(agents, source, yard):
    """A capture and a restore that nobody disturbs: what they take, and an artifact."""
    capture = agents.run("capture", source)
    assert "result" in capture, capture
    serves(source)
    with yard.target(WORKER) as box:
        restore = agents.run("restore", box, artifact=capture["result"])
        assert serves(box)
    return {"capture": capture, "restore": restore}


def asked(box):
    return box.ask(8000, b"GET / HTTP/1.0\r\n\r\n", b"}$")


def serves(box):
    answer = until(lambda: asked(box), f"an answer of {box.output()}")
    states = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(states.values()) == {True}, states
    return True


def network_rules(box):
    """Names of the packet filter's tables in the container's network namespace: it has none of its own."""
    tables = Path(f"/proc/{box.container.init}/net/ip_tables_names")
    found = tables.read_text().split() if tables.exists() else []
    if shutil.which("nft"):
        command = ["nsenter", "-t", str(box.container.init), "-n", "nft", "list", "tables"]
        found += subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return found


def undisturbed(agents, box):
    """Nothing stands still, and nothing is left on the node."""
    until(lambda: not [process for process in box.others() if process.state in "Tt"], "everything's going on")
    assert agents.agent.remains() == []
    assert network_rules(box) == []
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(agents.state) in line] == []


def criu_seconds(whole):
    """From CRIU's start to the step that follows its end."""
    times = [seconds for name, seconds in whole["steps"] if name == "criu_started"]
    return max(seconds for name, seconds in whole["steps"] if name in ("rootfs", "resume") and seconds > times[0]) - times[0]


@pytest.mark.parametrize("kind", ["capture", "restore"])
def test_every_step_of_the_list_is_passed_in_its_order(whole, kind):
    passed = [name for name, _ in whole[kind]["steps"] if name != "criu_started"]
    assert list(dict.fromkeys(passed)) == list(STEPS[kind])


@pytest.mark.parametrize("step", STEPS["capture"])
def test_an_agent_killed_during_a_capture(agents, source, whole, step):
    answer = agents.run("capture", source, die_at=step)
    assert os.WTERMSIG(answer["status"]) == signal.SIGKILL
    assert recover(agents.agent.config.journal) == 1
    undisturbed(agents, source)
    assert serves(source)
    again = agents.run("capture", source)
    assert "result" in again, again
    assert serves(source)


@pytest.mark.parametrize("moment", MOMENTS)
def test_criu_killed_during_a_capture(agents, yard, whole, moment):
    """On a busy machine a few of these kills take the worker along: see docs/fidelity.md."""
    with yard.source(WORKER) as box:
        serves(box)
        answer = agents.run("capture", box, kill_criu_after=moment * criu_seconds(whole["capture"]))
        assert os.WIFEXITED(answer["status"])
        assert ("error" in answer) != ("result" in answer)
        if until(lambda: taken_along(box) or asked(box)) is True:
            assert agents.agent.remains() == []
            return
        undisturbed(agents, box)
        assert serves(box)
        assert "result" in agents.run("capture", box)


def taken_along(box):
    """The worker was running CRIU's code when that died."""
    if Path(f"/proc/{box.container.init}").exists():
        return False
    said = re.search(r"the worker exited with code (\d+) before it was captured", box.output())
    return said is not None and int(said[1]) - 128 in (signal.SIGTRAP, signal.SIGSEGV)


@pytest.mark.parametrize("step", STEPS["restore"])
def test_an_agent_killed_during_a_restore(agents, yard, whole, step):
    with yard.target(WORKER) as box:
        answer = agents.run("restore", box, artifact=whole["capture"]["result"], die_at=step)
        assert os.WTERMSIG(answer["status"]) == signal.SIGKILL
        assert recover(agents.agent.config.journal) == 1
        assert serves(box)
        # Once the outcome is written the worker is restored, whoever lets it run.
        cold = "Falling back to cold start: the agent died during the restore"
        assert ("restored from checkpoint light" if step == "wake" else cold) in box.output()
        undisturbed(agents, box)
    next_attempt(agents, yard, whole)


@pytest.mark.parametrize("moment", MOMENTS)
def test_criu_killed_during_a_restore(agents, yard, whole, moment):
    with yard.target(WORKER) as box:
        delay = moment * criu_seconds(whole["restore"])
        answer = agents.run("restore", box, artifact=whole["capture"]["result"], kill_criu_after=delay)
        if "error" in answer:
            assert [process for process in box.others() if process.state not in "ZX"] == []
            assert not (box.control / "outcome").exists()
        else:
            assert serves(box)
            undisturbed(agents, box)
    next_attempt(agents, yard, whole)


def next_attempt(agents, yard, whole):
    with yard.target(WORKER) as box:
        answer = agents.run("restore", box, artifact=whole["capture"]["result"])
        assert "result" in answer, answer
        assert serves(box)
        undisturbed(agents, box)
