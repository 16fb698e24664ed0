"""News that stop coming are asked for again."""

import asyncio
import logging
from types import SimpleNamespace

from chrek_operator import delivery
from chrek_operator.delivery import Delivery, Routes
from chrek_operator.settings import Settings


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
