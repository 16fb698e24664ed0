"""Everything that a worker may hold is there after a restore, and in the source after its capture."""

import json
import re
from pathlib import Path

import pytest
from light_agent import LightAgent
from light_container import PROGRAMS, Shape, until

from chrek_agent.container.thaw import thaw
from kubectl_chrek.local.node.oci import Bind

SCRIPT = PROGRAMS / "features.py"
NAMES = [name for path in PROGRAMS.glob("features_*.py") for name in re.findall(r"@feature\ndef (\w+)", path.read_text())]
# Full buffers between captured processes are refused; the other wants a volume.
APART = {"full_loopback_tcp", "podinfo_file"}
KEPT = ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Groups", "Uid", "Gid")


def command(*names):
    return ["/usr/bin/python3", str(SCRIPT), *names]


def states(box):
    answer = until(lambda: box.ask(8000, b"GET / HTTP/1.0\r\n\r\n", b"}$"), box.output())
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def answers(box):
    return until(lambda: box.ask(8000, b"HEAD / HTTP/1.0\r\n\r\n", b"501"), "its answer")


def status(box):
    (worker,) = (process for process in box.others() if process.inner == 1001)
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name in KEPT}


@pytest.fixture(scope="module")
def told(yard, light_state):
    """What a worker with all features says in the source once it is thawed, and in another container with another address."""
    agent = LightAgent.at(light_state / "features")
    names = [name for name in NAMES if name not in APART]
    with yard.source(command(*names), Shape(address="10.1.1.1", env={"POD_IP": "10.1.1.1"})) as box:
        answers(box)
        artifact = agent.capture(box)
        thaw(box.container.init)
        source = states(box)
        left = box.run("find", "/tmp", "/dev/shm", "/srv", "-name", "link_remap*")
    with yard.target(command(*names), Shape(address="10.1.1.2")) as box:
        agent.restore(box, artifact)
        restored = states(box)
    return {"source": source, "restored": restored, "left": left}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in APART])
@pytest.mark.parametrize("where", ["source", "restored"])
def test_a_feature_is_there_afterwards(told, where, name):
    assert told[where][name] is True


def test_criu_leaves_no_links_in_the_source(told):
    assert told["left"] == ""


def test_an_unprivileged_worker_stays_as_confined_as_it_was(yard, agent, tmp_path, no_io_uring):
    """No capabilities, no new privileges, a seccomp filter, a read-only root, another volume and another hostname."""
    volumes = []
    for content in ("old", "new"):
        volume = tmp_path / content
        volume.mkdir()
        (volume / "podinfo").write_text(content)
        context = {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        temporary = tmp_path / f"{content}-tmp"
        temporary.mkdir()
        binds = (Bind(volume, "/srv"), Bind(temporary, "/tmp"))
        volumes.append(Shape(security=context, seccomp=no_io_uring, binds=binds))
    worker = command("threads", "pipes", "loopback_tcp", "shm_files", "posix_ipc", "podinfo_file")
    with yard.source(worker, volumes[0]) as box:
        answers(box)
        assert states(box)["podinfo_file"] == "old"
        before, name = status(box), box.run("hostname")
        artifact = agent.capture(box)
    with yard.target(worker, volumes[1]) as box:
        agent.restore(box, artifact)
        found = states(box)
        assert found.pop("podinfo_file") == "new"
        assert set(found.values()) == {True}
        assert status(box) == before
        assert box.run("hostname") != name
        assert "Read-only file system" in box.run("sh", "-c", "touch /new 2>&1; true")
        assert box.run("ls", "/sys/firmware") == ""
    assert before["CapEff"] == "0" * 16
    assert before["Seccomp"] == "2"


def test_signals_the_exit_code_and_the_log_pass_through(yard, agent):
    worker = ["/bin/sh", "-c", "trap 'echo leaving; exit 7' TERM; echo begun; while :; do sleep 0.05; done"]
    with yard.source(worker) as box:
        until(lambda: "begun" in box.output())
        artifact = agent.capture(box)
    with yard.target(worker) as box:
        agent.restore(box, artifact)
        box.signal_init(15)
        assert box.exit_code() == 7
        until(lambda: "leaving" in box.output())
        assert "begun" not in box.output()


def test_a_restored_worker_can_be_captured_again(yard, agent):
    names = ("threads", "timers", "loopback_tcp", "posix_ipc")
    artifact = None
    for _ in range(2):
        with yard.target(command(*names)) if artifact else yard.source(command(*names)) as box:
            if artifact:
                agent.restore(box, artifact)
            assert set(states(box).values()) == {True}
            artifact = agent.capture(box)
    with yard.target(command(*names)) as box:
        agent.restore(box, artifact)
        assert set(states(box).values()) == {True}
