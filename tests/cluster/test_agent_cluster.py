"""What an agent writes, against an API server: its ChrekNode, and answers to those who ask for a verification."""

import asyncio
import contextlib
import uuid
from datetime import UTC, datetime

import pytest

from chrek_agent.config import AgentConfig
from chrek_agent.errors import AgentError
from chrek_agent.node import writer as module
from chrek_agent.node.storage import store_status
from chrek_agent.node.writer import NodeWriter, clock_skew, publish
from chrek_agent.store.store import Store
from chrek_agent.tasks.report import Reporter
from chrek_agent.tasks.verification import Verifier
from chrek_agent.telemetry.instruments import Instruments
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES

pytestmark = pytest.mark.cluster


class Criu:
    async def version(self):
        raise AgentError("does not run")


@pytest.fixture
async def node_name(cluster):
    """A name that no other node has; what is written under it is removed."""
    name = f"chrek-test-{uuid.uuid4().hex[:10]}"
    yield name
    with contextlib.suppress(NotFoundError):
        await cluster.delete(CHREK_NODES, name, "")


async def test_an_agents_node_is_there_as_readers_expect_it(cluster, node_name, tmp_path):
    config = AgentConfig(node=node_name, base_path=tmp_path, state=tmp_path, namespace=cluster.namespace)
    instruments = Instruments(Operations(), Metrics(node_name))
    task = asyncio.create_task(NodeWriter(config, cluster, Criu(), Store.at(tmp_path), instruments).run())

    async def seen(wanted):
        async with contextlib.aclosing(cluster.watch(CHREK_NODES, "", fields=f"metadata.name={node_name}")) as events:
            async for event in events:
                if event.type in ("ADDED", "MODIFIED") and wanted(read_node(event.object)):
                    return read_node(event.object)
        raise AssertionError("the watch ended")

    first = await seen(lambda node: node.status.checks)
    assert first.alive(datetime.now(UTC))
    assert first.verdict == "fail"
    assert first.status.platform.architecture
    assert first.status.store.free_bytes > 0
    assert first.status.store.artifacts == 0
    with instruments.operations.running("capture", cluster.namespace, "cp", "p") as operation:
        operation.report("dump", 3, 7)
        listed = (await seen(lambda node: node.status.operations)).status.operations[0]
        assert (listed.kind, listed.checkpoint, listed.step, listed.bytes_total) == ("capture", "cp", "dump", 7)
    await seen(lambda node: not node.status.operations)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_kubectl_shows_what_is_free_as_people_read_it(cluster, kubectl, node_name, tmp_path):
    at = datetime.now(UTC)
    status = store_status(tmp_path, None, at) | {"free": "412Gi"}
    await publish(cluster, node_name, {"store": status})
    header, row = (await kubectl("get", "chreknodes", node_name)).stdout.splitlines()
    assert header.split() == ["NAME", "AGENT", "DRIVER", "GPUS", "CHECKPOINTS", "FREE", "AGE"]
    assert row.split()[:2] == [node_name, "412Gi"]
    body = await cluster.get(CHREK_NODES, node_name, "")
    assert body["status"]["store"]["freeBytes"] > 0
    # A store that has lost its volume for a bucket has no room of its own.
    await publish(cluster, node_name, {"store": store_status("s3://bucket", Store.at(tmp_path).usage(), at)})
    store = (await cluster.get(CHREK_NODES, node_name, ""))["status"]["store"]
    assert (store["type"], store["artifacts"], store.keys() & {"free", "freeBytes"}) == ("s3", 0, set())
    assert read_node({"metadata": {"name": "n"}, "status": {"store": store}}).status.store.measured_at == at


async def test_a_fact_that_is_gone_is_taken_back(cluster, node_name):
    await publish(cluster, node_name, {"platform": {"driver": "580.65.06"}, "checks": [{"name": "a", "verdict": "ok"}]})
    await publish(cluster, node_name, {"platform": {"driver": None}, "checks": []})
    found = read_node(await cluster.get(CHREK_NODES, node_name, "")).status
    assert (found.platform.driver, found.checks) == (None, [])
    with pytest.raises(UsageError):
        await publish(cluster, node_name, {"checks": [{"name": "a", "verdict": "perhaps"}]})


async def test_the_servers_clock_is_read(cluster):
    assert abs(await clock_skew(cluster.server_time)) < module.HEARTBEAT_SECONDS


async def test_a_verification_is_answered_once(cluster, tmp_path):
    spec = {"identity": {"model": "m", "backendFramework": "vllm"}, "job": {"podTemplateSpec": {"spec": {"containers": []}}}}
    body = {
        "apiVersion": CHECKPOINTS.api_version,
        "kind": CHECKPOINTS.kind,
        "metadata": {"name": "cp", "annotations": {"nvidia.com/chrek-verify": "1"}},
        "spec": spec,
    }
    await cluster.create(CHECKPOINTS, body)
    artifact = {"generation": "g-1", "digest": "d"}
    asked = await cluster.patch(CHECKPOINTS, "cp", {"status": {"phase": "Ready", "artifact": artifact}}, subresource="status")
    assert asked["spec"]["deletionPolicy"] == "Delete"
    reporter = Reporter(cluster, "n")
    agents = [Verifier(cluster, Store.at(tmp_path), reporter, Metrics(name), name) for name in ("a", "b")]
    assert all(agent.is_asked(asked) for agent in agents)
    await asyncio.gather(*(agent.handle(asked["metadata"]["uid"], "cp", cluster.namespace) for agent in agents))
    status = read_checkpoint(await cluster.get(CHECKPOINTS, "cp")).status
    assert (status.verification.result, status.verification.nonce, status.artifact) == ("corrupt", "1", None)
    assert "artifact g-1 has no manifest" in status.verification.message


async def test_counters_by_cause_add_up(cluster):
    spec = {"identity": {"model": "m", "backendFramework": "vllm"}, "job": {"podTemplateSpec": {"spec": {"containers": []}}}}
    body = {"apiVersion": CHECKPOINTS.api_version, "kind": CHECKPOINTS.kind, "metadata": {"name": "cp"}, "spec": spec}
    await cluster.create(CHECKPOINTS, body)
    reporter, pod = Reporter(cluster, "n"), {"metadata": {"name": "p", "namespace": cluster.namespace, "uid": "u"}}
    outcomes = [{"result": "cold", "reason": "x", "cause": cause, "seconds": 1.0} for cause in ("Incompatible", "TriedBefore")]
    for outcome in [*outcomes, outcomes[0], {"result": "restored", "reason": "", "seconds": 1.0}]:
        await reporter.outcome(cluster.namespace, "cp", pod, outcome)
    await reporter.death(cluster.namespace, "cp", pod, "the restored worker ended after 1.0 s", 1.0)
    status = read_checkpoint(await cluster.get(CHECKPOINTS, "cp")).status
    assert (status.cold_starts, status.cold_starts_by_cause) == (3, {"Incompatible": 2, "TriedBefore": 1})
    assert (status.restores, status.last_restore.result, status.last_restore.cause) == (0, "failed", "DiedEarly")
