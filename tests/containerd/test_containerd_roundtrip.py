"""A container of a real containerd is captured and restored into a new one, both unprivileged."""

import json
import signal
from pathlib import Path

from light_container import PROGRAMS, until

# inotify wants a place that CRIU can name; the rest needs root's rights or another address.
FEATURES = ["threads", "pipes", "unix_sockets", "polls", "loopback_tcp", "posix_ipc", "shm_files", "deleted_files", "file_locks"]
WORKER = ["/usr/bin/python3", str(PROGRAMS / "features.py"), *FEATURES]


def states(box):
    answer = until(lambda: box.ask(8000, b"GET / HTTP/1.0\r\n\r\n", b"}$"), "its answer")
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def status(box, name):
    (worker,) = (process for process in box.others() if process.inner == 1001)
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:"))


def test_a_container_goes_on_in_another_one(node, agent):
    with node.source(WORKER) as box:
        assert set(states(box).values()) == {True}
        before = {name: status(box, name) for name in ("CapEff", "CapBnd", "Seccomp", "NoNewPrivs")}
        artifact = agent.capture(box)
        agent.let_go(box.container)
        assert set(states(box).values()) == {True}
    with node.target(WORKER) as box:
        agent.restore(box, artifact)
        assert set(states(box).values()) == {True}
        assert {name: status(box, name) for name in before} == before
        assert "restored from checkpoint light" in box.output()
    assert int(before["CapEff"], 16) & 1 << 21 == 0  # CAP_SYS_ADMIN
    assert before["Seccomp"] == "2"
    assert agent.remains() == []


def test_logs_flow_signals_pass_and_the_exit_code_is_the_workers(node, agent):
    worker = ["/bin/sh", "-c", "trap 'echo leaving; exit 7' TERM; echo begun; while :; do sleep 0.05; done"]
    with node.source(worker) as box:
        until(lambda: "begun" in box.output())
        artifact = agent.capture(box)
    with node.target(worker) as box:
        agent.restore(box, artifact)
        node.run("tasks", "kill", "--signal", str(int(signal.SIGTERM)), box.container.id)
        assert box.exit_code() == 7
        until(lambda: "leaving" in box.output())
        assert "begun" not in box.output()
