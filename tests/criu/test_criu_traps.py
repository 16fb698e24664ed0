"""Stores that are full or cannot be written: the worker goes on, nothing is left, the reason is told, the next attempt works."""

import os
import signal
import subprocess

import pytest
from light_agent import LightAgent
from light_container import until

from chrek_agent.errors import CaptureError
from kubectl_chrek.local.node import mounts

WORKER = ["/usr/bin/python3", "-m", "http.server", "8000"]


@pytest.fixture(scope="module")
def source(yard):
    with yard.source(WORKER) as box:
        serves(box)
        yield box


@pytest.fixture
def small(tmp_path):
    """An agent whose store has 2 MiB."""
    agent = LightAgent.at(tmp_path)
    mounts.mount("tmpfs", agent.config.base_path, "tmpfs", 0, "size=2m,mode=700")
    yield agent
    mounts.unmount(agent.config.base_path)


def serves(box):
    return until(lambda: box.ask(8000, b"GET / HTTP/1.0\r\n\r\n", b"200 OK"), "its answer")


def remount(agent, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(agent.config.base_path)], check=True)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [("size=2m", "size=256m", "full|No space left"), ("ro", "rw,size=256m", "Read-only|cannot be written")],
)
def test_a_store_that_refuses_is_told_and_undone(source, small, before, after, reason):
    remount(small, before)
    with pytest.raises(CaptureError, match=reason):
        small.capture(source)
    assert serves(source)
    assert not [process for process in source.others() if process.state in "Tt"]
    remount(small, after)
    assert small.remains() == []
    artifact = small.capture(source)
    small.let_go(source.container)
    assert serves(source)
    assert artifact.generation in {path.name for path in small.config.base_path.glob("*/*")}


def test_a_restored_worker_that_dies_at_once_starts_cold_in_the_same_container(yard, agent, source):
    artifact = agent.capture(source)
    agent.let_go(source.container)
    with yard.target(WORKER) as box:
        restored = agent.restore(box, artifact)
        (worker,) = (process for process in box.others() if process.inner == restored.pid)
        os.kill(worker.pid, signal.SIGSEGV)
        until(lambda: box.others() == [])
        assert serves(box)
        assert "Falling back to cold start: the restored worker was ended by signal 11 within" in box.output()
        assert box.others() == []
