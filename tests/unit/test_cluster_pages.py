"""Lists piece by piece: the next piece is asked for while one is read, and nothing is left behind by whoever stops."""

import asyncio
import gc
import json
from contextlib import aclosing

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.errors import error_from_status
from kubectl_chrek.cluster.resources import CHECKPOINTS


def page(name, following=""):
    metadata = {"resourceVersion": "7"} | ({"continue": following} if following else {})
    return json.dumps({"items": [{"metadata": {"name": name, "uid": name}}], "metadata": metadata}).encode()


def forgotten(token=""):
    metadata = {"continue": token} if token else {}
    return error_from_status(410, json.dumps({"reason": "Expired", "message": "too old", "metadata": metadata}).encode())


class Answering(Cluster):
    """Answers by the token that is asked for: a page, an error, or nothing for ever (None)."""

    def __init__(self, **answers):
        self.namespace, self.server = "default", "https://fake"
        self.answers, self.asked, self.cancelled = answers, [], []

    async def _request(self, _method, _path, *_, query, **__):
        token = query.get("continue", "first")
        self.asked.append(token)
        answer = self.answers[token]
        if answer is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(token)
                raise
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def complaints():
    """What the loop is told of tasks whose errors nobody asked for, and of tasks that are left behind."""
    told, loop = [], asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    yield told
    gc.collect()
    await asyncio.sleep(0)
    assert (told, asyncio.all_tasks() - {asyncio.current_task()}) == ([], set())


def names(bodies):
    return [body["metadata"]["name"] for body in bodies]


async def test_the_next_page_is_asked_for_while_one_is_read(complaints):
    cluster = Answering(first=page("a", "t"), t=page("b", "u"), u=page("c"))
    async with aclosing(cluster.pages(CHECKPOINTS)) as pages:
        assert names(await anext(pages)) == ["a"]
        assert cluster.asked == ["first", "t"]
        assert [names(found) async for found in pages] == [["b"], ["c"]]
    assert cluster.asked == ["first", "t", "u"]
    assert names(await Answering(first=page("a", "t"), t=page("b")).list(CHECKPOINTS)) == ["a", "b"]


async def test_whoever_stops_early_takes_back_what_was_asked(complaints):
    cluster = Answering(first=page("a", "t"), t=None)
    async with aclosing(cluster.pages(CHECKPOINTS)) as pages:
        await anext(pages)
    assert cluster.cancelled == ["t"]
    async with aclosing(cluster.watch(CHECKPOINTS)) as events:
        assert (await anext(events)).type == "ADDED"
    assert cluster.cancelled == ["t", "t"]


async def test_whoever_is_cancelled_while_he_waits_takes_back_what_was_asked(complaints):
    cluster = Answering(first=page("a", "t"), t=None)
    reading = asyncio.create_task(cluster.list(CHECKPOINTS))
    while "t" not in cluster.asked:
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert cluster.cancelled == ["t"]


async def test_the_error_of_a_page_comes_in_its_place_or_not_at_all(complaints):
    cluster = Answering(first=page("a", "t"), t=ClusterError("cut off"))
    async with aclosing(cluster.pages(CHECKPOINTS)) as pages:
        assert names(await anext(pages)) == ["a"]
        with pytest.raises(ClusterError, match="cut off"):
            await anext(pages)
    async with aclosing(cluster.pages(CHECKPOINTS)) as pages:
        await anext(pages)
        await asyncio.sleep(0)
    with pytest.raises(ClusterError, match="with no object"):
        await Answering(first=b"<html>").list(CHECKPOINTS)


async def test_a_list_that_the_server_has_forgotten_goes_on_where_it_was_if_parts_are_enough(complaints):
    """A reader may take his time, as `ls` in a pager does; a list that must be of one moment is an error."""
    answers = {"first": page("a", "t"), "t": forgotten("u"), "u": page("c")}
    cluster = Answering(**answers)
    async with aclosing(cluster.pages(CHECKPOINTS)) as pages:
        assert [names(found) async for found in pages] == [["a"], ["c"]]
    lost = (Answering(first=forgotten()), Answering(first=forgotten("u"), u=forgotten("u")))
    for ask in (cluster.list(CHECKPOINTS), *(anext(each.pages(CHECKPOINTS)) for each in lost)):
        with pytest.raises(ClusterError, match="too old") as failed:
            await ask
        assert (failed.value.status, failed.value.hint) == (410, "the list changed while it was read: repeat the command")
    events = Answering(**answers).watch(CHECKPOINTS)
    assert names([(await anext(events)).object]) == ["a"]
    with pytest.raises(ClusterError, match="too old"):
        await anext(events)
