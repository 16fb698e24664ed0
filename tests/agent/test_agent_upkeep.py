"""What the agent does to keep its store small."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from chrek_agent.store.repack import Repacked
from chrek_agent.store.sweep import Swept
from chrek_agent.tasks import upkeep

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Recorded:
    """A store that says what it was told to."""

    def __init__(self, swept, repacked):
        self.swept, self.repacked = swept, repacked
        self.calls = []

    def sweep(self, now):
        self.calls.append("sweep")
        if isinstance(self.swept, Exception):
            raise self.swept
        return self.swept

    def repack(self, now):
        self.calls.append("repack")
        return self.repacked


def test_a_round_that_finds_nothing_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    store = Recorded(Swept(), Repacked())
    upkeep.tidy(store, NOW)
    assert store.calls == ["sweep", "repack"]
    assert not caplog.records


def test_a_round_says_what_it_did_and_why_it_did_not(caplog):
    caplog.set_level(logging.INFO)
    swept = Swept(tombstoned=["a"], deleted=["b", "c"], deleted_bytes=7, abandoned="a list failed")
    upkeep.tidy(Recorded(swept, Repacked(packs=["d"], damaged=["e"])), NOW)
    text = caplog.text
    assert "1 packs marked, 0 kept after all, 2 deleted (7 bytes)" in text
    assert "repacked 1 packs" in text
    assert "damaged chunks: e" in text
    assert "not tidied up: a list failed" in text


async def test_a_store_that_refuses_is_tried_again(caplog):
    store = Recorded(OSError(30, "Read-only file system"), Repacked())
    rounds = []
    task = asyncio.create_task(upkeep.run(store, 0.001, lambda: rounds.append(len(store.calls))))
    async with asyncio.timeout(10):
        while len(rounds) < 2:
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rounds[:2] == [1, 2]
    assert "Read-only file system" in caplog.text
