"""Runs a command's asynchronous part on a connection."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kubectl_chrek.cluster import Cluster
from kubectl_chrek.ops.connection import ConnectionOptions, open_cluster

T = TypeVar("T")


def run(connection: ConnectionOptions, work: Callable[[Cluster], Coroutine[Any, Any, T]]) -> T:
    """Opens the connection, awaits `work` on it and closes it."""

    async def connected() -> T:
        async with open_cluster(connection) as cluster:
            return await work(cluster)

    # The client's library logs what it also raises; stderr is ours.
    logging.getLogger().addHandler(logging.NullHandler())
    return asyncio.run(connected())
