"""SIGCONT to a worker that is being captured: CRIU gives up where it comes in between; later it makes a dumped worker run on."""

import fcntl
import os
import signal
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pytest
from light_agent import artifact_of
from light_container import PROGRAMS, accounts, until

from chrek_agent import capture as module
from chrek_agent.container import processes
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import CaptureError

MAPS = ["/usr/bin/python3", str(PROGRAMS / "maps.py"), "7"]
TICKS = ["/bin/sh", "-c", "(while :; do echo tick; sleep 0.05; done) & kill -STOP $!; echo begun; while :; do sleep 0.05; done"]
ONCE_MORE = "container main: it is dumped once more: a signal, most likely SIGCONT, came to the worker while it was dumped (CRIU: "
PLAIN = "container main: memory is dumped by CRIU, which takes longer: a signal, most likely SIGCONT"


def root(container):
    return next(process.pid for process in processes.beside(container.init) if process.inner == 1001)


@contextmanager
def told_to_go_on(container, images):
    """The kernel itself sends the worker SIGCONT for each file that is made in `images`: CRIU makes some once it has frozen it."""
    descriptor = os.open(images, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGCONT)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, root(container))
        fcntl.fcntl(descriptor, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_MULTISHOT)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupts the first so many dumps; notes how each was to be made."""
    dump, in_place, dumps = Criu.dump, Criu.dump_in_place, []

    def begin(count):
        def meanwhile(name, container, images):
            dumps.append(name)
            return told_to_go_on(container, images) if len(dumps) <= count else nullcontext()

        async def plainly(self, container, worker, images, *args, **options):
            with meanwhile("plain", container, images):
                await dump(self, container, worker, images, *args, **options)

        @asynccontextmanager
        async def quickly(self, container, worker, images, *args, **options):
            with meanwhile("in place", container, images):
                async with in_place(self, container, worker, images, *args, **options):
                    yield

        monkeypatch.setattr(Criu, "dump", plainly)
        monkeypatch.setattr(Criu, "dump_in_place", quickly)
        return dumps

    return begin


@pytest.fixture
def ticking(yard):
    """A shell whose child its own user has stopped."""
    with yard.source(TICKS) as box:
        until(lambda: "begun" in box.output() and stopped(box))
        yield box


def stopped(box):
    return [process.inner for process in box.others() if process.state in ("T", "t")]


def unharmed(agent, box, halted):
    """The shell runs, what was stopped is stopped, and nothing is left of the capture."""
    until(lambda: stopped(box) == halted, "the worker's going on")
    assert list(agent.config.base_path.glob("*/*/manifest.json")) == []
    assert agent.remains() == []


def test_a_dump_that_a_signal_interrupts_is_made_once_more(yard, agent, interrupted, caplog):
    dumps = interrupted(1)
    with yard.source(MAPS) as box:
        before = until(lambda: accounts(box), "the account")
        captured = agent.captured_whole(box)
    assert dumps == ["in place", "in place"]
    assert [message.startswith(ONCE_MORE) for message in caplog.messages if "dumped" in message] == [True]
    with yard.target(MAPS) as box:
        assert "plain" not in agent.restore(box, artifact_of(captured)).phases
        for process in box.others():
            processes.send(process.pid, signal.SIGUSR1)
        assert until(lambda: accounts(box), "the account") == before


def test_signals_without_end_fail_the_capture_and_change_nothing(ticking, agent, interrupted, caplog):
    halted, dumps = stopped(ticking), interrupted(99)
    with pytest.raises(CaptureError, match="a signal, most likely SIGCONT, came to the worker"):
        agent.capture(ticking)
    assert dumps == ["in place", "in place", "plain", "plain"]
    assert [sign for message in caplog.messages for sign in (ONCE_MORE, PLAIN) if message.startswith(sign)] == [
        ONCE_MORE,
        PLAIN,
        ONCE_MORE,
    ]
    unharmed(agent, ticking, halted)


def test_a_worker_that_went_on_before_its_files_were_copied_is_not_captured(ticking, agent, monkeypatch):
    halted, pack = stopped(ticking), module.rootfs.pack_shm

    def meanwhile(container, path):
        processes.send(root(container), signal.SIGCONT)
        return pack(container, path)

    monkeypatch.setattr(module.rootfs, "pack_shm", meanwhile)
    with pytest.raises(CaptureError, match=r"the worker was made to run \(SIGCONT\) before its files were copied: sh \(1001\)"):
        agent.capture(ticking)
    unharmed(agent, ticking, halted)
