"""Memory that comes while its process runs already, as a GPU worker's does; a stand-in for the driver reads all of it meanwhile."""

import asyncio
import signal

import pytest
from light_container import PROGRAMS, accounts, until

from chrek_agent.container import processes
from chrek_agent.cuda import frozen as cuda
from chrek_agent.errors import ArtifactError
from chrek_agent.memory import crew, late
from chrek_agent.memory import fill as fill_module
from chrek_agent.store.store import Store

COMMAND = ["/usr/bin/python3", str(PROGRAMS / "areas.py")]


def ask(box):
    for process in box.others():
        processes.send(process.pid, signal.SIGCONT)
        processes.send(process.pid, signal.SIGUSR1)
    return until(lambda: accounts(box) or (not box.others() and "none"), "the account")


@pytest.fixture
def captured(yard, agent):
    with yard.source(COMMAND) as box:
        before = until(lambda: accounts(box), "the account")
        return before, agent.capture(box)


@pytest.fixture
def driver(monkeypatch):
    """All of the worker's processes use a GPU, and all mappings are large."""
    heard = []
    pids = []

    class Driver:
        box = None

        def place(self, frozen, pid):
            return {}

        async def thaw_gpu(self, frozen, tree):
            heard.append(await asyncio.to_thread(ask, Driver.box))

    monkeypatch.setattr(cuda, "load", lambda _: cuda.Frozen(pids, ["GPU-0"]))
    monkeypatch.setattr(cuda, "Gpus", Driver)
    monkeypatch.setattr(late, "LEAST", 256 << 10)
    monkeypatch.setattr(crew, "LEAST", 0)
    monkeypatch.setattr(crew, "THREADS", 1)
    monkeypatch.setattr(crew.os, "sched_getaffinity", lambda _: {0, 1})
    Driver.heard, Driver.pids = heard, pids
    return Driver


def restore(yard, agent, driver, artifact):
    """What the worker says while it is restored, and what the restore says."""
    with Store.at(agent.config.base_path).open("5941a4cb3c363457", artifact.generation, artifact.digest) as found:
        driver.pids[:] = {run.owner for run in found.manifest.memory if run.kind == "private"}
    with yard.target(COMMAND) as box:
        driver.box = box
        return agent.restore(box, artifact), ask(box)


def test_who_touches_memory_before_it_is_there_waits(yard, agent, captured, driver):
    before, artifact = captured
    restored, after = restore(yard, agent, driver, artifact)
    assert after == before
    assert driver.heard == [before]
    assert restored.moved["gpu"] > 0
    assert "plain" not in restored.phases
    assert agent.remains() == []


def test_what_fillers_leave_late_is_done_by_the_agent(yard, agent, captured, driver, monkeypatch):
    before, artifact = captured
    ended = crew.Crew.end

    def dying(self, stop):
        found = ended(self, stop)
        for filler in self.fillers:
            filler.kill()
        return found

    monkeypatch.setattr(crew.Crew, "end", dying)
    restored, after = restore(yard, agent, driver, artifact)
    assert (after, driver.heard) == (before, [before])
    assert restored.moved["gpu"] > 0


def test_a_worker_that_forks_before_its_memory_is_there_is_restored_by_criu(yard, agent, captured, driver, monkeypatch, caplog):
    before, artifact = captured
    monkeypatch.setattr(fill_module.Late, "harm", "forked")
    restored, after = restore(yard, agent, driver, artifact)
    assert after == before
    assert "plain" in restored.phases
    assert "the worker forked before all of its memory was there" in caplog.text


def test_a_changed_chunk_never_arrives(yard, agent, captured, driver):
    _, artifact = captured
    with Store.at(agent.config.base_path).open("5941a4cb3c363457", artifact.generation, artifact.digest) as found:
        runs = sorted((run for run in found.manifest.memory if run.kind == "private"), key=lambda run: -run.length)
        assert runs, found.manifest.model_dump_json()[:3000]
        place = next(iter(found.chunks(runs[0]))).place
    content = bytearray(place.path.read_bytes())
    content[place.offset + place.stored // 2] ^= 1
    place.path.write_bytes(content)
    with yard.target(COMMAND) as box:
        driver.box = box
        driver.pids[:] = {run.owner for run in runs}
        with pytest.raises(ArtifactError, match="has changed"):
            agent.restore(box, artifact)
        until(lambda: not box.others(), "the end of what was half restored")
