"""The work queue: one at a time for each key, and failures that do not spread."""

import asyncio

import pytest

from chrek_operator.queueing import WorkQueue
from kubectl_chrek.api.errors import ClusterError, ConflictError


@pytest.fixture
async def run():
    tasks = []

    def start(queue):
        tasks.append(asyncio.create_task(queue.run()))

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_key_added_while_it_runs_runs_again_afterwards(run):
    running, most, seen, done = 0, 0, [], asyncio.Event()

    async def handle(key):
        nonlocal running, most
        running += 1
        most = max(most, running)
        seen.append(key)
        if len(seen) == 1:
            queue.add(key)
            queue.add(key)
            await asyncio.sleep(0)
        else:
            done.set()
        running -= 1

    queue = WorkQueue(handle)
    run(queue)
    queue.add("a")
    await done.wait()
    assert seen == ["a", "a"]
    assert most == 1


async def test_a_key_that_hangs_stops_no_other(run):
    done = asyncio.Event()

    async def handle(key):
        if key == "hangs":
            await asyncio.Event().wait()
        done.set()

    queue = WorkQueue(handle)
    run(queue)
    queue.add("hangs")
    queue.add("other")
    await done.wait()


@pytest.mark.parametrize("error", [ClusterError("no"), ConflictError("changed"), ZeroDivisionError("a bug")])
async def test_a_failure_is_tried_again(run, monkeypatch, error):
    monkeypatch.setattr("chrek_operator.queueing.FIRST_BACKOFF", 0.0)
    tries, done = 0, asyncio.Event()

    async def handle(key):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise error
        done.set()

    queue = WorkQueue(handle)
    run(queue)
    queue.add("a")
    await done.wait()
    assert tries == 3


async def test_what_asks_to_be_seen_again_is(run):
    seen, done = [], asyncio.Event()

    async def handle(key):
        seen.append(key)
        if len(seen) == 2:
            done.set()
            return None
        return 0.01

    queue = WorkQueue(handle)
    run(queue)
    queue.add("a")
    await done.wait()
    assert seen == ["a", "a"]


def test_backoff_grows_to_a_limit():
    async def handle(key):
        return None

    queue = WorkQueue(handle)
    waits = [queue._backoff("a", 0.5) for _ in range(12)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == 60.0
