"""Ranks whose process groups are down while they are captured, and made anew after their restore; their GPUs are a stand-in's."""

import asyncio
from pathlib import Path

import pytest
from light_agent import HASH, artifact_of, checkpoint
from light_container import PROGRAMS, Shape, until

from chrek_agent.apart.preparing import prepared
from chrek_agent.capture import Capture
from chrek_agent.criu.runner import Criu
from chrek_agent.cuda import frozen as cuda
from chrek_agent.journal import record
from chrek_agent.restore import Restore, wait_for_shim
from kubectl_chrek.api import names

COMMAND = ["/usr/bin/python3", str(PROGRAMS / "rebuilt_ranks.py")]
MARKER = "/tmp/restored"
SHAPE = Shape(env={names.ENV_MARKER_FILE: MARKER})


def said(box, word):
    """What both ranks have said with the word, once they have."""

    def find():
        lines = [line.split() for line in box.output().splitlines()]
        found = {line[0]: line[2:] for line in lines if line[1:2] == [word] and line[0] in ("0", "1")}
        return found if len(found) == 2 else None

    return until(find, f"{word!r}: {box.output()[-300:]}")


class Driver:
    """Notes what is asked of it; it has two GPUs."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda pid, *more: self.calls.append((name, pid, *more)) or True

    def gpus(self):
        return ["GPU-a", "GPU-b"]

    def taken(self):
        """The names of the calls so far, which are then forgotten."""
        found = [call[0] for call in self.calls if call[0] != "holds"]
        self.calls.clear()
        return found


@pytest.fixture
def driver(monkeypatch):
    """Of whose GPUs every process of a worker uses one."""
    found, usual = Driver(), cuda.Gpus
    monkeypatch.setattr(cuda, "Gpus", lambda **_: usual(lambda: found, Path("/dev/null"), listed=dict))
    monkeypatch.setattr(cuda, "gpu_processes", list)
    return found


async def captured(agent, box, report):
    with record(agent.config.journal, "capture", box.container) as entry:
        async with prepared(box.container, box.pod, "", agent.store(), entry) as (accepted, apart):
            work = Capture(agent.config, Criu(agent.config.criu_root), agent.store())
            told = {"cold_start": 1.0, "accepted": accepted, "apart": apart}
            return await work.run(box.pod, checkpoint(), box.container, entry, report, **told)


async def restored(agent, box, artifact):
    await wait_for_shim(box.container, seconds=20)
    await Restore(agent.config, Criu(agent.config.criu_root), agent.store()).run("light", HASH, artifact, box.container, MARKER)


def test_ranks_meet_anew_and_add_up_to_the_same(yard, agent, driver):
    steps = []
    if not Path("/usr/lib/python3/dist-packages/torch").exists():
        pytest.skip("Debian's torch is not installed: run scripts/install-demo")
    with yard.source(COMMAND, SHAPE) as box:
        born = said(box, "born")
        until(lambda: len(list(box.control.glob("hook.*"))) == 2)
        found = asyncio.run(captured(agent, box, lambda step, *_: steps.append(step)))
        assert said(box, "down") == {"0": ["False"], "1": ["False"]}
        assert steps[:3] == ["gpu 0 of 2", "gpu 1 of 2", "gpu 2 of 2"]
        assert driver.taken() == [name for name in ("lock", "checkpoint", "restore", "unlock") for _ in range(2)]
    with yard.target(COMMAND) as box:
        asyncio.run(restored(agent, box, artifact_of(found)))
        assert said(box, "restored") == born
        assert [call[2:] for call in driver.calls] == [({},), ({},), (), ()]  # The same GPUs: there is nothing to be mapped.
        assert driver.taken() == ["restore", "restore", "unlock", "unlock"]
        assert {rank: words[1:] for rank, words in born.items()} == {rank: [rank, "of", "2"] for rank in ("0", "1")}
    assert agent.remains() == []
