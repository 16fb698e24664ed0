"""A feed through lists, changes and outages; a pace through many changes."""

import asyncio
from datetime import timedelta

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster import Event
from kubectl_chrek.tui.feed import LONGEST_PAUSE, Feed
from kubectl_chrek.tui.pace import Pace


def body(uid, value=0):
    return {"metadata": {"uid": uid}, "value": value}


class Script:
    """Watches that play what they are given, one list of events or errors for each time one is opened, and then end."""

    def __init__(self, *watches):
        self.watches = list(watches)
        self.closed = 0

    async def __call__(self):
        try:
            for event in self.watches.pop(0):
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1


class Stop(BaseException):
    """Ends a feed, which survives every Exception."""


@pytest.fixture
def run(frozen_now):
    async def follow(script, pauses=1):
        """The feed after so many pauses, with what it showed at each."""
        seen, waited = [], []

        async def pause(seconds):
            waited.append(seconds)
            seen.append((dict(feed.items), feed.synced, feed.outage))
            if len(waited) == pauses:
                raise Stop

        feed = Feed(script, lambda found: found["value"], lambda: None, now=lambda: frozen_now, pause=pause)
        with pytest.raises(Stop):
            await feed.run()
        return feed, seen, waited

    return follow


async def test_what_is_listed_and_what_changes_is_kept(run):
    events = [Event("ADDED", body("a", 1)), Event("ADDED", body("b", 2)), Event("SYNCED", {})]
    events += [Event("MODIFIED", body("a", 3)), Event("DELETED", body("b")), Event("ADDED", body("c", 4))]
    feed, _, _ = await run(Script(events))
    assert feed.items == {"a": 3, "c": 4}
    assert feed.synced


async def test_what_changed_since_the_list_is_known_one_by_one(run):
    first = [Event("ADDED", body("a")), Event("ADDED", body("b")), Event("SYNCED", {})]
    changes = [Event("MODIFIED", body("a", 1)), Event("DELETED", body("b"))]
    feed, _, _ = await run(Script([*first, *changes]))
    assert (feed.lists, feed.touched) == (1, {"a", "b"})
    feed, _, _ = await run(Script([*first, *changes], first), pauses=2)
    assert (feed.lists, feed.touched) == (2, set())


async def test_nothing_is_shown_before_the_first_list_is_complete(run):
    feed, _, _ = await run(Script([Event("ADDED", body("a"))]))
    assert feed.items == {}
    assert not feed.synced


async def test_an_outage_keeps_the_rows_and_says_since_when_why_and_until_when(run, frozen_now):
    script = Script([Event("ADDED", body("a", 1)), Event("SYNCED", {}), ClusterError("refused", hint="check the network")])
    feed, _, waited = await run(script)
    assert feed.items == {"a": 1}
    assert feed.outage is not None
    assert feed.outage.reason == "refused (check the network)"
    assert feed.outage.since == frozen_now
    assert feed.outage.retry_at == frozen_now + timedelta(seconds=waited[0])


async def test_after_an_outage_what_vanished_meanwhile_is_gone(run):
    first = [Event("ADDED", body("a")), Event("ADDED", body("b")), Event("SYNCED", {})]
    second = [Event("ADDED", body("b", 7)), Event("SYNCED", {})]
    feed, seen, _ = await run(Script(first, second), pauses=2)
    assert seen[0][0] == {"a": 0, "b": 0}
    assert feed.items == {"b": 7}


async def test_pauses_double_up_to_the_longest_and_start_over_after_a_success(run):
    down = [[ClusterError("refused")] for _ in range(7)]
    up = [Event("SYNCED", {})]
    _, seen, waited = await run(Script(*down, up, *down), pauses=9)
    assert waited == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, 1, 2]
    assert seen[6][2].since == seen[0][2].since


async def test_an_object_that_cannot_be_read_is_an_outage_not_an_end(run):
    feed, _, _ = await run(Script([Event("ADDED", {"metadata": {"uid": "a"}}), Event("SYNCED", {})]))
    assert feed.outage is not None
    assert feed.outage.reason == "'value'"


async def test_every_watch_is_closed(run):
    script = Script([ClusterError("refused")], [Event("SYNCED", {})])
    await run(script, pauses=2)
    assert script.closed == 2


async def test_other_tasks_run_while_many_objects_are_read(frozen_now):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def pause(_):
        raise Stop

    script = Script([*(Event("ADDED", body(str(number))) for number in range(1000)), Event("SYNCED", {})])
    feed = Feed(script, lambda found: found["value"], lambda: None, now=lambda: frozen_now, pause=pause)
    ticking = asyncio.create_task(tick())
    with pytest.raises(Stop):
        await feed.run()
    ticking.cancel()
    assert len(feed.items) == 1000
    assert ticks >= 10


async def test_many_requests_before_a_redraw_are_one_redraw():
    drawn = []
    done = asyncio.Event()

    def act():
        drawn.append(1)
        done.set()

    pace = Pace(act, lambda call: call(), interval=0.0)
    for _ in range(100):
        pace.ask()
    await done.wait()
    assert len(drawn) == 1
    assert not pace.pending


async def test_after_a_redraw_the_next_one_waits_for_the_interval():
    drawn = []
    done = asyncio.Event()

    def act():
        drawn.append(1)
        done.set()

    pace = Pace(act, lambda call: call(), interval=3600.0)
    pace.ask()
    await done.wait()
    pace.ask()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(drawn) == 1
    assert pace.pending
