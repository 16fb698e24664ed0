"""What a watch tells when it is opened, and when it has to list anew."""

from contextlib import aclosing

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster import Cluster, Event
from kubectl_chrek.cluster.resources import CHECKPOINTS


def body(uid, value=0):
    return {"metadata": {"uid": uid, "name": uid}, "value": value}


class Scripted(Cluster):
    """Lists what it is given, page by page, and has one list of changes after each."""

    def __init__(self, lists, changes):
        self.namespace = "default"
        self.lists, self.changes, self.versions, self.closed = list(lists), list(changes), [], 0

    async def _pages(self, *_):
        try:
            for number, page in enumerate(self.lists.pop(0)):
                if isinstance(page, Exception):
                    raise page
                yield page, str(number)
        finally:
            self.closed += 1

    async def _changes(self, *asked):
        self.versions.append(asked[-1])
        for event in self.changes.pop(0):
            yield event


async def told(cluster, count, **options):
    """So many events as pairs of their type and what was known of the object."""
    found = []
    async with aclosing(cluster.watch(CHECKPOINTS, **options)) as events:
        while len(found) < count:
            event = await anext(events)
            found.append((event.type, event.object))
    return found


async def test_what_is_there_comes_page_by_page_and_once_it_is_complete_that_is_told():
    cluster = Scripted([[[body("a"), body("b")], [body("a", 1)]]], [[Event("DELETED", body("b"))]])
    assert await told(cluster, 5) == [
        ("ADDED", body("a")),
        ("ADDED", body("b")),
        ("MODIFIED", body("a", 1)),
        ("SYNCED", {}),
        ("DELETED", body("b")),
    ]
    assert cluster.versions == ["1"]


async def test_a_new_list_tells_what_vanished_by_what_was_remembered():
    lists = [[[body("a", 1), body("b", 1)]], [[body("a", 2)]]]
    cluster = Scripted(lists, [[Event("MODIFIED", body("b", 5))], []])
    whole = await told(cluster, 6)
    assert whole[4:] == [("DELETED", body("b", 5)), ("MODIFIED", body("a", 2))]
    cluster = Scripted(lists, [[Event("MODIFIED", body("b", 5))], []])
    part = await told(cluster, 6, remember=lambda found: {"metadata": found["metadata"]})
    assert part[:4] == whole[:4]
    assert part[4:] == [("DELETED", {"metadata": {"uid": "b", "name": "b"}}), ("MODIFIED", body("a", 2))]


async def test_a_list_that_breaks_off_is_an_error_and_a_watch_that_is_left_closes_its_list():
    cluster = Scripted([[[body("a")], ClusterError("gone")]], [])
    with pytest.raises(ClusterError, match="gone"):
        await told(cluster, 2)
    cluster = Scripted([[[body("a"), body("b")]]], [])
    assert await told(cluster, 1) == [("ADDED", body("a"))]
    assert cluster.closed == 1
