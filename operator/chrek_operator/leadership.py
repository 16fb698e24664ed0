"""One operator acts at a time: the one that holds the Lease."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import LEASES

LOG: Final = logging.getLogger(__name__)
RELEASE_SECONDS: Final = 2.0

Body = dict[str, Any]


class Leadership:
    """The Lease of all operators of a cluster.

    How old another's renewal is, is told by our own clock since we first saw it: clocks of two machines need not agree.
    """

    def __init__(self, cluster: Cluster, namespace: str, seconds: float, identity: str = "") -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._seconds = seconds
        self.identity = identity or f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"
        self._seen = ("", 0.0)
        self._held: Body | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Does the work whenever and as long as the Lease is ours, until cancelled or until the work ends."""
        try:
            while True:
                await self._acquire()
                LOG.info("%s leads", self.identity)
                if await self._lead(work):
                    return
                LOG.warning("%s leads no more: its Lease could not be renewed", self.identity)
        finally:
            await self._release()

    async def _lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Works until the Lease is lost; whether the work ended by itself."""
        working, keeping = asyncio.create_task(work()), asyncio.create_task(self._keep())
        try:
            done, _ = await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
        if working in done:
            working.result()
        return working in done

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._try():
                    return
            except ConflictError:
                LOG.debug("another operator was faster to take the Lease")
            except ChrekError as error:
                LOG.warning("the Lease cannot be taken: %s", error)
            await asyncio.sleep(self._seconds / 5)

    async def _try(self) -> bool:
        """Takes the Lease if it is free; whether it is ours."""
        now = asyncio.get_running_loop().time()
        try:
            lease = await self._cluster.get(LEASES, names.OPERATOR, self._namespace)
        except NotFoundError:
            metadata = {"name": names.OPERATOR, "namespace": self._namespace}
            self._held = await self._cluster.create(LEASES, {"metadata": metadata, "spec": self._spec({})}, self._namespace)
            return True
        spec = lease.get("spec") or {}
        mark = f"{spec.get('holderIdentity')} {spec.get('renewTime')}"
        if mark != self._seen[0]:
            self._seen = (mark, now)
        runs_out = self._seen[1] + float(spec.get("leaseDurationSeconds") or 0)
        if spec.get("holderIdentity") not in (None, "", self.identity) and now < runs_out:
            return False
        self._held = await self._cluster.replace(LEASES, {**lease, "spec": self._spec(spec)}, self._namespace)
        return True

    async def _keep(self) -> None:
        """Renews until it cannot any more."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() < renewed + self._seconds * 2 / 3:
            await asyncio.sleep(self._seconds / 5)
            held = self._held
            if held is None:
                return
            try:
                async with asyncio.timeout(self._seconds / 3):
                    spec = held["spec"] | {"renewTime": _micro_now()}
                    self._held = await self._cluster.replace(LEASES, {**held, "spec": spec}, self._namespace)
                renewed = loop.time()
            except (ConflictError, NotFoundError):
                # Our own renewal may have come through although its answer did not.
                with suppress(ChrekError):
                    self._held = await self._still_ours()
            except (ChrekError, TimeoutError) as error:
                LOG.warning("the Lease could not be renewed: %s", error)

    async def _still_ours(self) -> Body | None:
        try:
            lease = await self._cluster.get(LEASES, names.OPERATOR, self._namespace)
        except NotFoundError:
            return None
        return lease if (lease.get("spec") or {}).get("holderIdentity") == self.identity else None

    async def _release(self) -> None:
        """Gives the Lease back, so that another need not wait for it to run out."""
        if self._held is None:
            return
        held, self._held = self._held, None
        spec = {key: value for key, value in held["spec"].items() if key != "holderIdentity"}
        with suppress(ChrekError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._cluster.replace(LEASES, {**held, "spec": spec}, self._namespace)

    def _spec(self, former: Body) -> Body:
        changed = former.get("holderIdentity") != self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "acquireTime": _micro_now() if changed else former.get("acquireTime"),
            "renewTime": _micro_now(),
            "leaseTransitions": int(former.get("leaseTransitions") or 0) + (1 if changed and former else 0),
        }


def _micro_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
