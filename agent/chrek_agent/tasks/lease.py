"""One writer for each checkpoint: a Lease that its holder renews, and that others may take once it has run out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.errors import AgentError
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, ClusterError, ConflictError, NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import LEASES

LOG: Final = logging.getLogger(__name__)
DURATION_SECONDS: Final = 30
RENEW_SECONDS: Final = 10


def expired(spec: dict[str, Any], now: datetime) -> bool:
    """Its holder has not renewed it in time, or has given it back."""
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return True
    renewed = datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00"))
    return (now - renewed).total_seconds() > float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)


def _spec(holder: str, now: datetime) -> dict[str, Any]:
    moment = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    return {"holderIdentity": holder, "leaseDurationSeconds": DURATION_SECONDS, "acquireTime": moment, "renewTime": moment}


@asynccontextmanager
async def hold(cluster: Cluster, namespace: str, identity_hash: str, holder: str) -> AsyncIterator[None]:
    """Holds Lease `chrek-<hash>` while the block runs; a block whose lease is lost is cancelled.

    Raises:
        AgentError: Another holder has it, or has taken it over, or it could not be renewed in time.
    """
    name = f"{names.LEASE_PREFIX}{identity_hash}"
    uid = await _acquire(cluster, namespace, name, holder)
    owner = asyncio.current_task()
    lost: list[AgentError] = []

    async def keep() -> None:
        try:
            await _renew(cluster, namespace, name, holder)
        except AgentError as error:
            lost.append(error)
            if owner is not None:
                owner.cancel()

    task = asyncio.create_task(keep())
    try:
        yield
    except asyncio.CancelledError as error:
        if lost and owner is not None and owner.uncancel() == 0:
            raise lost[0] from error
        raise
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if not lost:
            with suppress(ChrekError):
                await cluster.delete(LEASES, name, namespace, uid=uid)


async def _acquire(cluster: Cluster, namespace: str, name: str, holder: str) -> str:
    """Returns the Lease's UID."""
    now = datetime.now(UTC)
    body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": name}, "spec": _spec(holder, now)}
    try:
        return _uid(await cluster.create(LEASES, body, namespace))
    except ConflictError:
        pass
    try:
        found = await cluster.get(LEASES, name, namespace)
        if found["spec"].get("holderIdentity") != holder and not expired(found["spec"], now):
            raise AgentError(f"{found['spec']['holderIdentity']} is capturing this checkpoint already")
        return _uid(await cluster.replace(LEASES, found | {"spec": _spec(holder, now)}, namespace))
    except (ConflictError, NotFoundError) as error:
        raise AgentError("another agent has just begun to capture this checkpoint") from error


def _uid(lease: Mapping[str, Any]) -> str:
    return str(lease["metadata"].get("uid", ""))


async def _renew(cluster: Cluster, namespace: str, name: str, holder: str) -> None:
    """Until it is cancelled. Raises AgentError once the lease is another's, or may be."""
    renewed = time.monotonic()
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            found = await cluster.get(LEASES, name, namespace)
            other = found["spec"].get("holderIdentity")
            if other != holder:
                raise AgentError(f"{other or 'nobody'} has taken this checkpoint's lease over")
            moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
            await cluster.replace(LEASES, found | {"spec": found["spec"] | {"renewTime": moment}}, namespace)
            renewed = time.monotonic()
        except NotFoundError as error:
            raise AgentError("this checkpoint's lease has been deleted") from error
        except ClusterError as error:
            LOG.warning("lease %s/%s could not be renewed: %s", namespace, name, error)
            if time.monotonic() - renewed > DURATION_SECONDS:
                raise AgentError("this checkpoint's lease could not be renewed in time") from error
        except ConflictError:
            LOG.debug("lease %s/%s has changed: it is looked at again", namespace, name)
