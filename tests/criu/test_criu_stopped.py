"""A process that its own user had stopped before the capture: it is stopped after the restore, and goes on when it is told to."""

import signal

from light_container import HASH, until

from chrek_agent.container import processes, stopped
from chrek_agent.store.model import IMAGES
from chrek_agent.store.store import Store

WORKER = ["/bin/sh", "-c", "(while :; do echo tick; sleep 0.05; done) & kill -STOP $!; echo begun; while :; do sleep 0.05; done"]


def child(box):
    """The worker's child that ticks: a shell below a shell."""
    shells = [process for process in box.others() if process.name == "sh"]
    return next((process for process in shells if process.parent in {each.pid for each in shells}), None)


def is_stopped(box):
    process = child(box)
    return process is not None and process.state == "T"


def test_it_stays_as_it_was(yard, agent, tmp_path):
    with yard.source(WORKER) as box:
        until(lambda: "begun" in box.output() and is_stopped(box))
        inner = child(box).inner
        artifact = agent.capture(box)
    with Store.at(agent.config.base_path).open(HASH, artifact.generation, artifact.digest) as found:
        found.materialise(tmp_path)
    assert stopped.load(tmp_path / IMAGES / stopped.FILE) == {inner}
    with yard.target(WORKER) as box:
        restored = agent.restore(box, artifact)
        assert is_stopped(box)
        assert next(process for process in box.others() if process.inner == restored.pid).state != "T"
        before = box.output().count("tick")
        processes.send(child(box).pid, signal.SIGCONT)
        until(lambda: box.output().count("tick") > before, "a tick")
