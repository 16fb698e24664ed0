"""The moment before a capture: what is kept apart goes to the store; nothing is left there by mistake, whatever happens then."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apart_world import fields

from chrek_agent.apart import preparing
from chrek_agent.errors import CaptureError
from chrek_agent.journal import record, recover
from chrek_agent.store.store import Store
from chrek_worker import apart
from chrek_worker.apart.keeper import Keeper
from kubectl_chrek.api import names

MIB = 1 << 20
POD = {"metadata": {"name": "p", "namespace": "ns"}}


@pytest.fixture
def keeper(monkeypatch):
    """What a worker of this process keeps apart; its hook is `acceptance.prepare`'s to call."""
    found = Keeper()
    monkeypatch.delenv(names.ENV_SIGNAL_FILE, raising=False)

    async def prepare(*_):
        return {"apart": await asyncio.to_thread(found.vacate), "hook": [".1"]}

    monkeypatch.setattr(preparing.acceptance, "prepare", prepare)
    return found


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


def left(store):
    """Everything in the store's directory that is a file."""
    return [path for path in store.backend.base.rglob("*") if path.is_file()]


async def prepare(container, store, tmp_path, then):
    with record(tmp_path / "journal", "capture", container) as entry:
        async with preparing.prepared(container, POD, "", store, entry) as (accepted, saving):
            return then(accepted, saving)


async def test_what_was_given_up_is_committed_with_the_rest(make_container, signal_directory, store, tmp_path, keeper):
    view = keeper.host.allocate(3 * MIB)
    view[MIB] = 7

    def commit(accepted, saving):
        assert accepted["apart"] == saving.bytes == 3 * MIB
        assert saving.seconds >= 0
        assert not (signal_directory / "apart.sock").exists()
        with store.begin("g1") as writer:
            writer.join(saving.writer)
            return writer.commit(fields())

    manifest, _ = await prepare(make_container(), store, tmp_path, commit)
    assert [(run.kind, run.owner, run.length) for run in manifest.memory] == [("apart", os.getpid(), 3 * MIB)]
    assert view[MIB] == 0
    store.verify(manifest.identity_hash, "g1", _)
    assert list(store.scratch.iterdir()) == []
    assert keeper.vacate() == 0  # It is gone already.


async def test_a_capture_that_fails_leaves_nothing(make_container, signal_directory, store, tmp_path, keeper):
    view = keeper.host.allocate(3 * MIB)
    view[MIB] = 7

    def fail(*_):
        raise CaptureError("no")

    with pytest.raises(CaptureError, match="no"):
        await prepare(make_container(), store, tmp_path, fail)
    assert left(store) == []


async def test_a_worker_without_anything_costs_the_store_nothing(make_container, signal_directory, store, tmp_path, keeper):
    assert await prepare(make_container(), store, tmp_path, lambda accepted, saving: (accepted["apart"], saving.writer)) == (
        0,
        None,
    )
    assert not store.backend.base.exists()


async def test_what_a_worker_says_is_not_believed(make_container, signal_directory, store, tmp_path, keeper, monkeypatch):
    async def lie(*_):
        return {"apart": 4096}

    monkeypatch.setattr(preparing.acceptance, "prepare", lie)
    with pytest.raises(CaptureError, match="given up 4096 bytes of its memory, and 0 of them are here"):
        await prepare(make_container(), store, tmp_path, lambda *_: None)


async def test_a_worker_that_asks_for_too_much_is_told(make_container, signal_directory, store, tmp_path, keeper, monkeypatch):
    monkeypatch.setattr(preparing, "most", lambda _: MIB)
    view = keeper.host.allocate(3 * MIB)
    view[0] = 7
    with pytest.raises(OSError, match="more than 1048576 bytes are not kept apart"):
        await prepare(make_container(), store, tmp_path, lambda *_: None)
    assert view[0] == 7  # All is still there.
    assert left(store) == []


def test_the_most_is_the_containers_memory_and_the_gpus(make_container):
    assert preparing.most(make_container()) > 64 * MIB


KILLED = """
import os, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from apart_world import World
from chrek_agent.apart.saving import Saving
from chrek_agent.apart.listener import Listener
from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.journal import record
from chrek_agent.store.store import Store
from chrek_worker.apart.host import HostMemory
from chrek_worker.apart.channel import Channel
from chrek_worker.apart.slot import SharedSlot
from kubectl_chrek.api import names

base = Path(sys.argv[2])
names.CONTROL_DIR = str(base)
me = processes.read_process(os.getpid())
container = Container("c0ffee", "main", me.pid, me.start, ())
store = Store.at(base / "store")
with record(base / "journal", "capture", container) as entry:
    def begin():
        entry.staged(store.scratch / "apart-1")
        return store.begin("apart-1", compress=False)
    saving = Saving(begin, 1 << 30)
    with Listener(container, saving.serve), Channel(str(base / "apart.sock")) as channel:
        slot = SharedSlot(4 << 20)
        slot.view[:] = os.urandom(4 << 20)
        channel.ask({"do": "keep", "regions": [[1 << 40, 8 << 20]]})
        channel.ask({"do": "slot"}, [slot.descriptor])
        channel.ask({"do": "save", "start": 1 << 40, "offset": 0, "length": 4 << 20})
        print("half", flush=True)
        sys.stdin.read()
"""


def test_an_agent_that_is_killed_over_it_leaves_what_the_next_one_removes(tmp_path):
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with agent:
        assert agent.stdout.readline() == "half\n"
        agent.send_signal(signal.SIGKILL)
    store = Store.at(tmp_path / "store")
    assert [path.stat().st_size for path in left(store)] == [4 * MIB]
    assert recover(tmp_path / "journal") == 1
    assert left(store) == []
    swept = store.sweep(datetime.now(UTC) + timedelta(days=1))
    assert not swept.abandoned


def test_outside_a_pod_there_is_nobody_to_give_it_to(keeper, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "CONTROL_DIR", str(tmp_path))
    view = keeper.host.allocate(MIB)
    view[0] = 1
    assert keeper.vacate() == keeper.occupy() == 0
    assert view[0] == 1
    assert apart.vacate() == apart.occupy() == 0
    assert len(apart.buffer(5)) == 5


def test_a_process_that_is_not_captured_installs_nothing(monkeypatch):
    monkeypatch.delenv(names.ENV_SIGNAL_FILE, raising=False)
    assert apart.install() is False
