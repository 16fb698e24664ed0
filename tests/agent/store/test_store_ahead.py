"""Reading ahead: few requests, in the order of need, in a bounded number of buffers, and right whatever the order is."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chrek_agent.store import ahead
from chrek_agent.store.ahead import GAP, SMALL, SPAN, Ahead, plan
from chrek_agent.store.pace import FIRST, MOST, Pace
from chrek_agent.store.refusals import StorageError

MIB = 1 << 20


def described(spans):
    return [(span.key, span.start, span.end, span.left) for span in spans]


def test_neighbours_are_one_request_and_come_in_the_order_of_need():
    wanted = [("b", 0, MIB), ("a", 9 * MIB, MIB), ("a", 0, MIB), ("b", MIB, MIB), ("a", MIB + GAP, MIB), ("a", MIB + GAP, MIB)]
    assert described(plan(wanted)) == [
        ("b", 0, 2 * MIB, 2), ("a", 9 * MIB, 10 * MIB, 1), ("a", 0, 2 * MIB + GAP, 3)
    ]  # fmt: skip
    assert plan([]) == []


def test_what_nobody_wants_is_not_read_along_if_it_is_much_and_no_request_is_too_large():
    assert len(plan([("a", 0, 4096), ("a", 4096 + GAP + 1, 4096)])) == 2
    spans = plan([("a", number * 2 * MIB, 2 * MIB) for number in range(9)])
    assert [span.end - span.start for span in spans] == [SPAN, SPAN, 2 * MIB]


class Place:
    """Objects, with a note of each request."""

    def __init__(self, **objects):
        self.objects, self.requests, self.failure = objects, [], None

    def read_into(self, key, offset, into):
        self.requests.append((key, offset, len(into)))
        if self.failure is not None:
            raise self.failure
        piece = self.objects[key][offset : offset + len(into)]
        into[: len(piece)] = piece
        return len(piece)


def read(reader, key, offset, length):
    buffer = bytearray(length)
    return bytes(buffer[: reader.read_into(key, offset, memoryview(buffer))])


@pytest.fixture(scope="module")
def contents():
    return {name: os.urandom(20 * MIB) for name in "abc"}


@pytest.fixture
def place(contents):
    return Place(**contents)


@pytest.mark.parametrize("buffers", [1, 2, 16])
@pytest.mark.parametrize("length", [MIB, SMALL // 2])
def test_whatever_the_order_and_the_room_all_is_read_right(place, monkeypatch, buffers, length):
    monkeypatch.setattr(ahead, "BUFFERS", buffers)
    wanted = [(key, offset, length) for offset in range(0, 10 * MIB, length) for key in "abc"]
    wanted += wanted[::7]
    reader = Ahead(place)
    reader.expect(wanted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda piece: read(reader, *piece), wanted))
    reader.close()
    assert found == [place.objects[key][offset : offset + length] for key, offset, length in wanted]
    if buffers == 16:
        assert len({request for request in place.requests if request[2] > length}) == 6


def test_buffers_come_back_and_are_not_more_than_are_needed(place):
    reader = Ahead(place)
    for _ in range(3):
        wanted = [("a", offset, MIB) for offset in range(0, 20 * MIB, MIB)]
        reader.expect(wanted)
        for piece in wanted:
            read(reader, *piece)
    assert len(place.requests) == 9
    pool = reader._pool
    reader.close()
    pool.shutdown()  # The threads that fetched let go of theirs, too.
    assert reader._buffers.used == 0


def test_what_somebody_looks_at_stays_as_it_is(place, monkeypatch):
    monkeypatch.setattr(ahead, "BUFFERS", 2)
    reader = Ahead(place)
    wanted = [(key, offset, MIB) for key in "abc" for offset in range(0, 20 * MIB, MIB)]
    reader.expect(wanted)
    buffers = [memoryview(bytearray(MIB)) for _ in wanted]
    views = [reader.view(key, offset, buffer) for (key, offset, _), buffer in zip(wanted, buffers, strict=True)]
    reader.close()
    assert views == [place.objects[key][offset : offset + MIB] for key, offset, _ in wanted]
    assert sum(view.obj is not buffer.obj for view, buffer in zip(views, buffers, strict=True)) >= SPAN // MIB


def test_what_was_not_told_of_is_read_by_itself(place):
    reader = Ahead(place)
    reader.expect([("a", 0, MIB), ("a", MIB, MIB)])
    assert read(reader, "b", 5, 7) == place.objects["b"][5:12]
    assert read(reader, "a", 0, MIB) == place.objects["a"][:MIB]
    reader.forget("a", MIB, MIB)
    assert read(reader, "a", MIB, MIB) == place.objects["a"][MIB : 2 * MIB]
    reader.close()
    assert read(reader, "a", 19 * MIB, 2 * MIB) == place.objects["a"][19 * MIB :]
    assert sorted(place.requests) == [("a", 0, 2 * MIB), ("a", MIB, MIB), ("a", 19 * MIB, 2 * MIB), ("b", 5, 7)]


def test_a_request_that_fails_fails_those_who_wait_for_it(place):
    place.failure = StorageError("it cut the connection")
    reader = Ahead(place)
    reader.expect([("a", 0, MIB)])
    with pytest.raises(StorageError, match="it cut the connection"):
        read(reader, "a", 0, MIB)


def test_nothing_more_is_fetched_once_it_is_closed(place):
    begun, go = threading.Event(), threading.Event()
    answer = place.read_into

    def slowly(key, offset, into):
        begun.set()
        go.wait()
        return answer(key, offset, into)

    place.read_into = slowly
    reader = Ahead(place)
    reader.expect([(key, offset, MIB) for key in "abc" for offset in range(0, 20 * MIB, MIB)])
    begun.wait()
    reader.close()
    with reader._lock:
        under_way = reader._active
    go.set()
    assert under_way == FIRST
    assert len(place.requests) <= FIRST


def test_more_requests_are_made_as_long_as_they_bring_more():
    def settled(rate):
        pace, now = Pace(), 0.0
        for _ in range(1000):
            now += SPAN / rate(pace.parallel)
            pace.note(SPAN, now)
        return pace.parallel

    assert settled(lambda parallel: 1e8 * parallel) == MOST
    assert settled(lambda parallel: 1e9) == FIRST + 2
    assert settled(lambda parallel: 1e8 * min(parallel, 8)) == 10
