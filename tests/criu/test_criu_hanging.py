"""Stores that do not answer: the worker goes on in time, and what answers too late leaves no artifact."""

import asyncio
import threading
from dataclasses import replace

import pytest
from light_agent import LightAgent
from light_container import until

from chrek_agent import capture as module
from chrek_agent.errors import CaptureError, DeadlineError
from chrek_agent.journal import record
from chrek_agent.store.local import DirectoryBackend
from chrek_agent.store.writer import ArtifactWriter

WORKER = ["/bin/sh", "-c", "echo begun; while :; do sleep 0.05; done"]


@pytest.fixture
def release():
    """What a hanging store waits for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def source(yard):
    with yard.source(WORKER) as box:
        until(lambda: "begun" in box.output())
        yield box


def refused(agent, box, release, error, match):
    """A capture that fails while its store still hangs; its threads end before this does."""

    async def run():
        with record(agent.config.journal, "capture", box.container) as entry, pytest.raises(error, match=match):
            await agent.captured(box.pod, box.container, entry)
        assert not release.is_set()
        assert not [process for process in box.others() if process.state in "Tt"]
        release.set()

    asyncio.run(run())
    assert list(agent.config.base_path.glob("*/*/manifest.json")) == []
    assert agent.remains() == []


def test_a_commit_past_its_deadline(source, agent, release, monkeypatch):
    put = DirectoryBackend.put

    def slow(self, key, data, *, if_absent=False):
        if key.endswith("/manifest.json"):
            release.wait(30)
        put(self, key, data, if_absent=if_absent)

    monkeypatch.setattr(DirectoryBackend, "put", slow)
    late = LightAgent(replace(agent.config, capture_limits={"commit": 1.0}))
    refused(late, source, release, DeadlineError, "commit did not finish")


def test_an_undoing_that_hangs(source, agent, release, monkeypatch):
    abandon = ArtifactWriter.abandon

    def fail(*_):
        raise OSError(5, "Input/output error")

    def slow(self):
        release.wait(30)
        abandon(self)

    monkeypatch.setattr(ArtifactWriter, "commit", fail)
    monkeypatch.setattr(ArtifactWriter, "abandon", slow)
    monkeypatch.setattr(module, "ABANDON_SECONDS", 0.1)
    refused(agent, source, release, CaptureError, "Input/output error")
