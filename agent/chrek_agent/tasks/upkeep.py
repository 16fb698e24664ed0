"""Keeps the store small: frees what no artifact needs any more, now and then."""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from chrek_agent.store.store import Store

LOG: Final = logging.getLogger(__name__)


async def run(store: Store, seconds: float, done: Callable[[], None]) -> None:
    """Sweeps and repacks for ever, `seconds` apart; the agents of other nodes do the same on the same store, and agree.

    `done` is called after each round.
    """
    while True:
        # Not all nodes at once, and not at an agent's start, when pods wait to be restored.
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - nobody gains by guessing it
        try:
            await asyncio.to_thread(tidy, store, datetime.now(UTC))
        except OSError as error:
            LOG.warning("the store was not swept: %s", error.strerror or error)
        done()


def tidy(store: Store, now: datetime) -> None:
    """One round; blocks."""
    swept = store.sweep(now)
    if swept.tombstoned or swept.deleted or swept.lifted:
        message = "swept the store: %d packs marked, %d kept after all, %d deleted (%d bytes)"
        LOG.info(message, len(swept.tombstoned), len(swept.lifted), len(swept.deleted), swept.deleted_bytes)
    repacked = store.repack(now)
    if repacked.packs:
        LOG.info("repacked %d packs, %d bytes were still needed", len(repacked.packs), repacked.copied_bytes)
    if repacked.damaged:
        LOG.warning("packs with damaged chunks: %s", ", ".join(repacked.damaged))
    for why in filter(None, (swept.abandoned, repacked.abandoned)):
        LOG.warning("the store was not tidied up: %s", why)
