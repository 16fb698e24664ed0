"""News that stop coming are asked for again."""

import asyncio
import logging
import threading
from types import SimpleNamespace

import pytest
from kubernetes.aio.client.configuration import Configuration

from chrek_operator import delivery
from chrek_operator.delivery import Delivery, Routes
from chrek_operator.settings import Settings


def connected(token):
    configuration = Configuration()
    configuration.api_key["BearerToken"] = token
    return SimpleNamespace(server="https://x", configuration=configuration)


async def operated(cluster, monkeypatch, operator):
    """Runs a Delivery whose kopf is `operator(login, stop_flag, identity)`, once."""
    logins, loop = [], asyncio.get_running_loop()
    monkeypatch.setattr(delivery.kopf.on, "login", lambda **_: logins.append)
    monkeypatch.setattr(delivery.kopf, "operator", lambda *, stop_flag, identity, **_: operator(logins[-1], stop_flag, identity))
    monkeypatch.setattr(delivery, "CLOSE_SECONDS", 0.0)
    await Delivery(cluster, Settings(), Routes(), lambda key: None)._operate(loop, threading.Event())


@pytest.mark.parametrize("word", ["Bearer", "bearer"])
async def test_kopf_gets_the_bare_token_and_a_name_that_needs_no_user(monkeypatch, word):
    """A service account's token begins otherwise than a kubeconfig's, and a pod's user may be in no passwd."""

    async def operator(login, stop_flag, identity):
        given = await login()
        assert (given.scheme, given.token, identity) == ("Bearer", "abc", "chrek-operator")
        assert not stop_flag.is_set()

    await operated(connected(f"{word} abc"), monkeypatch, operator)


async def test_kopf_is_stopped_when_unchanged_credentials_are_refused(monkeypatch):
    cluster = connected("Bearer old")

    async def operator(login, stop_flag, identity):
        await login()
        cluster.configuration.api_key["BearerToken"] = "Bearer new"
        await login()
        assert not stop_flag.is_set()
        await login()
        assert stop_flag.is_set()

    await operated(cluster, monkeypatch, operator)


async def test_watches_that_end_are_started_anew(monkeypatch, caplog):
    begun, again, loop = 0, asyncio.Event(), asyncio.get_running_loop()

    async def operator(*, stop_flag, **_):
        nonlocal begun
        begun += 1
        if begun == 1:
            raise OSError("connection refused")
        loop.call_soon_threadsafe(again.set)
        await asyncio.to_thread(stop_flag.wait)

    monkeypatch.setattr(delivery.kopf, "operator", operator)
    monkeypatch.setattr(delivery, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(delivery, "CLOSE_SECONDS", 0.0)
    caplog.set_level(logging.WARNING)
    cluster = SimpleNamespace(server="https://x", configuration=None)
    task = asyncio.create_task(Delivery(cluster, Settings(), Routes(), lambda key: None).run())
    await again.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert begun == 2
    assert "connection refused" in caplog.text
