"""Memory apart from the images comes back byte for byte, whatever it is; what is not what was captured never does."""

import signal

import pytest
from light_agent import HASH
from light_container import PROGRAMS, accounts, until

from chrek_agent.container import processes
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import ArtifactError, CaptureError
from chrek_agent.memory import put
from chrek_agent.memory.fill import FillError
from chrek_agent.store.store import Store


def command(seed):
    return ["/usr/bin/python3", str(PROGRAMS / "maps.py"), str(seed)]


def account(box):
    return until(lambda: accounts(box), "the account")


def restored_account(box):
    for process in box.others():
        processes.send(process.pid, signal.SIGUSR1)
    return account(box)


def opened(agent, artifact):
    return Store.at(agent.config.base_path).open(HASH, artifact.generation, artifact.digest)


def round_trip(yard, agent, seed):
    """Source's account, restored account, artifact, phases of the restore."""
    with yard.source(command(seed)) as box:
        before = account(box)
        artifact = agent.capture(box)
    with yard.target(command(seed)) as box:
        restored = agent.restore(box, artifact)
        return before, restored_account(box), artifact, restored.phases


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_random_memory_comes_back_as_it_was(yard, agent, seed):
    before, after, artifact, phases = round_trip(yard, agent, seed)
    assert after == before
    assert "fill" in phases
    assert "plain" not in phases
    with opened(agent, artifact) as found:
        assert {run.kind for run in found.manifest.memory} == {"private", "shared"}
        assert len({run.owner for run in found.manifest.memory if run.kind == "private"}) == 2
        assert "plain" not in found.manifest.phases


def test_a_dump_that_cannot_leave_memory_in_place_is_taken_apart(yard, agent, monkeypatch, caplog):
    def refuse(*_, **__):
        raise CaptureError("no such option")

    monkeypatch.setattr(Criu, "dump_in_place", refuse)
    before, after, artifact, phases = round_trip(yard, agent, 5)
    assert after == before
    assert "plain" not in phases
    assert "memory is dumped by CRIU, which takes longer: no such option" in caplog.text
    with opened(agent, artifact) as found:
        assert found.manifest.memory
        assert "plain" in found.manifest.phases


def test_memory_that_cannot_be_filled_is_restored_by_criu(yard, agent, monkeypatch, caplog):
    def refuse(*_, **__):
        raise FillError("Bad address")

    monkeypatch.setattr(put, "fill", refuse)
    before, after, _, phases = round_trip(yard, agent, 6)
    assert after == before
    assert "plain" in phases
    assert "memory is restored by CRIU, which takes longer: Bad address" in caplog.text


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_a_changed_chunk_of_memory_is_never_restored(yard, agent, kind):
    with yard.source(command(1)) as box:
        account(box)
        artifact = agent.capture(box)
    with opened(agent, artifact) as found:
        run = next(run for run in found.manifest.memory if run.kind == kind)
        place = next(iter(found.chunks(run))).place
    content = bytearray(place.path.read_bytes())
    content[place.offset + place.stored // 2] ^= 1
    place.path.write_bytes(content)
    with yard.target(command(1)) as box:
        with pytest.raises(ArtifactError, match="has changed"):
            agent.restore(box, artifact)
        until(lambda: not box.others(), "the end of what was half restored")
        assert accounts(box) is None
