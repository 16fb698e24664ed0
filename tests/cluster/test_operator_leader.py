"""Two operators: one acts, and the other takes over."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from chrek_operator.leadership import Leadership
from chrek_operator.running import run_operator
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, LEASES

pytestmark = pytest.mark.cluster

SECONDS = 1.0


class Candidate:
    """One that would lead; `leads` is set as long as it does."""

    def __init__(self, cluster, namespace, name):
        self.leads = asyncio.Event()
        self.lease = Leadership(cluster, namespace, SECONDS, name)
        self.task = asyncio.create_task(self.lease.run(self._work))

    async def _work(self):
        self.leads.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.leads.clear()

    async def end(self):
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def candidate(cluster, namespace):
    made = []

    def make(name, connection=cluster):
        made.append(Candidate(connection, namespace, name))
        return made[-1]

    yield make
    for one in made:
        await one.end()


async def led(one):
    async with asyncio.timeout(30):
        await one.leads.wait()


async def test_one_leads_and_gives_way_when_it_ends(candidate, cluster, namespace):
    first = candidate("first")
    await led(first)
    second = candidate("second")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * SECONDS):
            await second.leads.wait()
    assert first.leads.is_set()
    await first.end()
    await led(second)
    lease = await cluster.get(LEASES, names.OPERATOR, namespace)
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] >= 1


class Flaky:
    """A cluster that cannot be reached while `broken`."""

    def __init__(self, cluster):
        self._cluster = cluster
        self.broken = False

    def __getattr__(self, name):
        method = getattr(self._cluster, name)

        async def call(*arguments, **options):
            if self.broken:
                raise ClusterError("Unable to connect to the server")
            return await method(*arguments, **options)

        return call


async def test_one_that_cannot_renew_stops_before_another_starts(candidate, cluster):
    flaky = Flaky(cluster)
    first = candidate("first", flaky)
    await led(first)
    second = candidate("second")
    flaky.broken = True
    await led(second)
    assert not first.leads.is_set()
    flaky.broken = False
    assert not first.leads.is_set()


async def test_a_lease_that_somebody_took_is_lost_at_once(candidate, cluster, namespace):
    first = candidate("first")
    await led(first)
    await cluster.patch(LEASES, names.OPERATOR, {"spec": {"holderIdentity": "intruder"}}, namespace)
    async with asyncio.timeout(30):
        while first.leads.is_set():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running_operator(cluster, namespace):
    stop = asyncio.Event()
    settings = Settings(namespaces=(namespace,), poll=0.2, lease_namespace=namespace, lease_seconds=SECONDS)
    task = asyncio.create_task(run_operator(cluster, settings, stop))
    yield task
    stop.set()
    await asyncio.gather(task, return_exceptions=True)


class Watched:
    """A cluster that counts what its user writes, but for the Lease."""

    def __init__(self, cluster):
        self._cluster = cluster
        self.writes = 0

    def __getattr__(self, name):
        method = getattr(self._cluster, name)
        if name not in ("create", "replace", "patch", "delete"):
            return method

        async def call(resource, *arguments, **options):
            self.writes += resource is not LEASES
            return await method(resource, *arguments, **options)

        return call


async def test_of_two_that_run_one_acts(cluster, namespace, checkpoint_body):
    checkpoint_body["spec"]["job"]["podTemplateSpec"]["spec"]["containers"][0]["command"] = ["serve"]
    first, second = Watched(cluster), Watched(cluster)
    async with running_operator(first, namespace), running_operator(second, namespace):
        for name in ("one", "two", "three"):
            await cluster.create(CHECKPOINTS, checkpoint_body | {"metadata": {"name": name}}, namespace)
        async with asyncio.timeout(30):
            while {found.get("status", {}).get("phase") for found in await cluster.list(CHECKPOINTS)} != {"Creating"}:
                await asyncio.sleep(0.02)
        assert sorted([first.writes == 0, second.writes == 0]) == [False, True]
        for name in ("one", "two", "three"):
            await cluster.delete(CHECKPOINTS, name, namespace)
        async with asyncio.timeout(30):
            while await cluster.list(CHECKPOINTS):
                await asyncio.sleep(0.02)
        assert sorted([first.writes == 0, second.writes == 0]) == [False, True]


async def test_the_second_operator_goes_on_where_the_first_died(cluster, namespace, cluster_config, checkpoint_body):
    worker = checkpoint_body["spec"]["job"]["podTemplateSpec"]["spec"]["containers"][0]
    worker["command"] = ["serve"]

    async def creating(name):
        body = checkpoint_body | {"metadata": {"name": name}}
        await cluster.create(CHECKPOINTS, body, namespace)
        async with asyncio.timeout(30):
            while (await cluster.get(CHECKPOINTS, name, namespace)).get("status", {}).get("phase") != "Creating":
                await asyncio.sleep(0.02)

    async with (
        Cluster.connect(kubeconfig=str(cluster_config), namespace=namespace) as other,
        running_operator(cluster, namespace) as first,
    ):
        await creating("one")
        async with running_operator(other, namespace):
            first.cancel()
            await creating("two")
            for name in ("one", "two"):
                await cluster.delete(CHECKPOINTS, name, namespace)
            async with asyncio.timeout(30):
                while await cluster.list(CHECKPOINTS, namespace):
                    await asyncio.sleep(0.02)
