"""The TUI's source over an API server: every question of the TUI gets its answer."""

import uuid
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime

import pytest

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ChrekError, NotReadyError
from kubectl_chrek.api.identity import Identity
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, PODS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.ops.prewarm import template_from_command, wanted_from_identity
from kubectl_chrek.ops.retention import Candidate, Policy, delete_after
from kubectl_chrek.tui.clusters import VERBS, KubeconfigContexts

pytestmark = pytest.mark.cluster
NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
async def source(cluster_config, namespace):
    """Of the kubeconfig's first context, in the test's own namespace."""
    async with AsyncExitStack() as stack:
        options = ConnectionOptions(kubeconfig=str(cluster_config), namespace=namespace)
        contexts = KubeconfigContexts(options, stack)
        yield await contexts.open(contexts.names()[0])


@pytest.fixture
async def made(source):
    wanted = wanted_from_identity(Identity("m", "vllm"), template_from_command("image", ["serve"]))
    first, second = await source.prewarm(wanted, ""), await source.prewarm(wanted, source.home)
    assert (first.verb, second.verb) == ("created", "unchanged")
    return first.name


async def listed(events):
    """Names of what a watch lists."""
    found = set()
    async with aclosing(events) as changes:
        async for event in changes:
            if event.type == "SYNCED":
                break
            found.add(event.object["metadata"]["name"])
    return found


async def test_what_is_watched(source, cluster, namespace, made):
    node = f"chrek-test-{uuid.uuid4().hex[:10]}"
    await cluster.create(CHREK_NODES, {"apiVersion": names.API_VERSION, "kind": names.NODE_KIND, "metadata": {"name": node}}, "")
    for name, annotations in (("stranger", {}), ("untouched", {names.ANNOTATION_UNTOUCHED: "why"})):
        metadata = {"name": name, "annotations": annotations}
        spec = {"containers": [{"name": "main", "image": "x"}], "nodeSelector": {"chrek-test": "nowhere"}}
        await cluster.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    try:
        assert await listed(source.watch(namespace)) == {made}
        assert node in await listed(source.watch_nodes())
        assert await listed(source.watch_graphs(namespace)) == set()
        assert await listed(source.watch_workers(namespace)) == {"untouched"}
        assert await listed(source.watch_pods(namespace, made)) == set()
    finally:
        await cluster.delete(CHREK_NODES, node, "")


async def test_what_is_asked(source, cluster, namespace, made):
    assert source.home == namespace
    assert namespace in await source.namespaces()
    assert await source.rights(namespace) == frozenset(VERBS)
    assert (await source.usage(namespace)).groups == ()
    assert "server" in {finding.name for finding in await source.findings(namespace, NOW)}
    await cluster.patch(CHECKPOINTS, made, {"status": {"phase": "Failed"}}, subresource="status")
    plan = await source.plan(namespace, Policy(failed=True), NOW)
    assert [each.name for each in plan.evict] == [made]
    assert await source.events(namespace, [made]) == []


async def test_what_is_changed(source, cluster, namespace, made):
    async def current():
        return read_checkpoint(await cluster.get(CHECKPOINTS, made))

    await source.pin(await current(), NOW)
    assert (await current()).pinned
    await source.unpin(await current())
    assert not (await current()).pinned
    await source.mark(Candidate(await current(), "", 0), NOW)
    assert delete_after(await current()) == NOW
    assert await source.undelete(await current())
    with pytest.raises(NotReadyError):
        await source.verify(await current(), "1")
    await source.delete(namespace, made, (await current()).metadata.uid)


async def test_a_context_that_is_not_there(cluster_config):
    async with AsyncExitStack() as stack:
        contexts = KubeconfigContexts(ConnectionOptions(kubeconfig=str(cluster_config)), stack)
        with pytest.raises(ChrekError, match="nowhere"):
            await contexts.open("nowhere")
