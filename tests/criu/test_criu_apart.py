"""A worker of two processes that keep memory apart: each copy has it back before it is called restored."""

import asyncio
import sys
from pathlib import Path

import pytest
from light_agent import HASH, artifact_of, checkpoint
from light_container import PROGRAMS, Shape, until

from chrek_agent.apart import beside, loaders
from chrek_agent.apart.preparing import prepared
from chrek_agent.capture import Capture
from chrek_agent.criu.runner import Criu
from chrek_agent.cuda import frozen as cuda
from chrek_agent.errors import ArtifactError, CaptureError
from chrek_agent.journal import record
from chrek_agent.restore import Restore, wait_for_shim
from chrek_agent.store.store import Store
from kubectl_chrek.api import names
from kubectl_chrek.local.node import oci

MIB = 1 << 20
STAND_INS = Path(__file__).parents[1] / "agent"
SIZE = 64
EACH = (SIZE + 4) * MIB + 8192
MARKER = "/tmp/restored"
SHAPE = Shape(env={names.ENV_MARKER_FILE: MARKER})


def command(size=SIZE):
    return ["/usr/bin/python3", str(PROGRAMS / "apart.py"), str(size)]


def said(box, word):
    """What both processes said with the word, once they have."""

    def find():
        lines = [line.split() for line in box.output().splitlines()]
        found = {line[0]: line[2:] for line in lines if line[1:2] == [word] and line[0] in ("parent", "child")}
        return found if len(found) == 2 else None

    return until(find, f"{word!r}")


def capture(agent, box, *, hooks=2):
    store = Store.at(agent.config.base_path)

    async def run():
        with record(agent.config.journal, "capture", box.container) as entry:
            async with prepared(box.container, box.pod, "", store, entry) as (accepted, apart):
                work = Capture(agent.config, Criu(agent.config.criu_root), store)
                return await work.run(
                    box.pod, checkpoint(), box.container, entry, lambda *_: None, cold_start=1.0, accepted=accepted, apart=apart
                )

    until(lambda: len(list(box.control.glob("hook.*"))) == hooks)
    return asyncio.run(run())


def restore(agent, box, artifact):
    async def run():
        await wait_for_shim(box.container, seconds=20)
        work = Restore(agent.config, Criu(agent.config.criu_root), Store.at(agent.config.base_path))
        return await work.run("light", HASH, artifact, box.container, MARKER)

    return asyncio.run(run())


def source(yard, agent, size=SIZE):
    """The account of a source and what was captured of it."""
    with yard.source(command(size), SHAPE) as box:
        born = said(box, "born")
        return born, capture(agent, box)


class Driver:
    """Moves nothing; it has one GPU, the stand-in's."""

    def __getattr__(self, name):
        return lambda *_: True

    def gpus(self):
        return ["GPU-00000000-0000-4000-8000-000000000000"]


@pytest.fixture
def gpu(monkeypatch):
    """Of which the agent's loaders and the worker each have a stand-in's driver."""
    usual, found = cuda.Gpus, Driver()
    monkeypatch.setattr(cuda, "Gpus", lambda **_: usual(lambda: found, Path("/dev/null"), listed=dict))
    monkeypatch.setattr(cuda, "gpu_processes", list)
    monkeypatch.setattr(beside, "LEAST", 0)
    monkeypatch.setattr(loaders, "PATIENCE", 20.0)
    monkeypatch.setattr(loaders, "COMMAND", [sys.executable, str(STAND_INS / "fake_loader.py"), "{}"])


def test_gpu_memory_that_the_agent_has_loaded_is_the_restored_workers(yard, agent, gpu):
    command = ["/usr/bin/python3", str(PROGRAMS / "apart_gpu.py"), str(STAND_INS)]
    shape = Shape(env=SHAPE.env, binds=(oci.Bind(STAND_INS, str(STAND_INS), read_only=True),))

    def told(box, word):
        return until(lambda: [line.split()[1:] for line in box.output().splitlines() if line.startswith(word)], word)[0]

    with yard.source(command, shape) as box:
        adopted, born = told(box, "born")
        assert adopted == "0"
        captured = capture(agent, box, hooks=1)
    with yard.target(command, shape) as box:
        restored = restore(agent, box, artifact_of(captured))
        assert told(box, "restored") == ["3", born]
        assert restored.moved["apart"] == 32 * MIB
    assert agent.remains() == []


def test_two_restores_of_one_capture_have_it_back_and_a_second_capture_stores_nothing_of_it_again(yard, agent):
    born, captured = source(yard, agent)
    sizes, runs = captured.manifest.sizes, captured.manifest.memory
    apart = sum(run.length for run in runs if run.kind == "apart")
    assert apart == captured.moved["apart"] == EACH * 2
    assert len({run.owner for run in runs if run.kind == "apart"}) == 2
    assert sum(run.length for run in runs if run.kind != "apart") < 32 * MIB
    assert SIZE * MIB < sizes.stored < EACH * 1.5  # What both have is stored once.
    assert captured.manifest.phases["apart"] > 0
    for _ in range(2):
        with yard.target(command()) as box:
            restored = restore(agent, box, artifact_of(captured))
            assert said(box, "restored") == born
            assert restored.moved["apart"] == apart
            assert {"apart", "accept"} <= restored.phases.keys()
            assert not (box.control / "apart.sock").exists()
    _, second = source(yard, agent)
    assert second.manifest.sizes.stored < sizes.stored / 4
    assert agent.remains() == []


def test_what_has_changed_in_the_store_never_comes_back(yard, agent):
    _, captured = source(yard, agent, 8)
    with Store.at(agent.config.base_path).open(HASH, captured.manifest.generation, captured.digest) as found:
        run = max((run for run in captured.manifest.memory if run.kind == "apart"), key=lambda run: run.length)
        place = next(found.chunks(run)).place
        with Path(place.path).open("r+b") as file:
            file.seek(place.offset + 4097)
            file.write(b"\0\1")
    with yard.target(command()) as box:
        with pytest.raises(ArtifactError, match="has changed"):
            restore(agent, box, artifact_of(captured))
        assert box.others() == []
        assert "restored" not in box.output()


def test_a_worker_that_gave_its_memory_to_an_agent_that_died_is_not_captured_without_it(yard, agent):
    with yard.source(command(8), SHAPE) as box:
        said(box, "born")

        async def die():
            with record(agent.config.journal, "capture", box.container) as entry:
                async with prepared(box.container, box.pod, "", Store.at(agent.config.base_path), entry):
                    pass

        asyncio.run(die())
        with pytest.raises(CaptureError, match=f"has given up {24 * MIB + 4 * 4096} bytes of its memory, and 0 of them"):
            capture(agent, box)
    assert agent.remains() == []
