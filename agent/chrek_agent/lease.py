"""One writer for each checkpoint: a Lease that its holder renews, and that others may take once it has run out."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.errors import AgentError
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
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
    time = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    return {"holderIdentity": holder, "leaseDurationSeconds": DURATION_SECONDS, "acquireTime": time, "renewTime": time}


@asynccontextmanager
async def hold(cluster: Cluster, namespace: str, identity_hash: str, holder: str) -> AsyncIterator[None]:
    """Holds Lease `chrek-<hash>` while the block runs.

    Raises:
        AgentError: Another holder has it.
    """
    name = f"{names.LEASE_PREFIX}{identity_hash}"
    await _acquire(cluster, namespace, name, holder)
    task = asyncio.create_task(_renew(cluster, namespace, name))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with suppress(ChrekError):
            await cluster.delete(LEASES, name, namespace)


async def _acquire(cluster: Cluster, namespace: str, name: str, holder: str) -> None:
    now = datetime.now(UTC)
    body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": name}, "spec": _spec(holder, now)}
    try:
        await cluster.create(LEASES, body, namespace)
        return
    except ConflictError:
        pass
    try:
        found = await cluster.get(LEASES, name, namespace)
        if found["spec"].get("holderIdentity") != holder and not expired(found["spec"], now):
            raise AgentError(f"{found['spec']['holderIdentity']} is capturing this checkpoint already")
        await cluster.replace(LEASES, found | {"spec": _spec(holder, now)}, namespace)
    except (ConflictError, NotFoundError) as error:
        raise AgentError("another agent has just begun to capture this checkpoint") from error


async def _renew(cluster: Cluster, namespace: str, name: str) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        patch = {"spec": {"renewTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}}
        try:
            await cluster.patch(LEASES, name, patch, namespace)
        except ChrekError as error:
            LOG.warning("lease %s/%s could not be renewed: %s", namespace, name, error)
