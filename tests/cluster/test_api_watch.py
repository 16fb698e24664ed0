"""Watches, as their clients see them."""

import asyncio
import json
import os
from contextlib import aclosing, asynccontextmanager

import pytest
from kubernetes.aio import client, config
from kubernetes.aio.watch import Watch

from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS

pytestmark = pytest.mark.cluster

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def config_map(name, **labels):
    return {"metadata": {"name": name, "labels": labels | {"mine": "yes"}}}


@pytest.fixture
def watch(api, cluster, namespace):
    """All events of a short watch, from the version of a list on, while `act` runs."""

    async def run(act=None, *, version=None, **query):
        _, found = await api("GET", CONFIG_MAPS.path(namespace))
        if act:
            await act()
        query = {"watch": "true", "timeoutSeconds": 1, "labelSelector": "mine=yes"} | query
        query |= {"resourceVersion": found["metadata"]["resourceVersion"]} if version is None else {"resourceVersion": version}
        _, lines = await raw(api, CONFIG_MAPS.path(namespace), query)
        return lines

    return run


async def raw(api, path, query, accept="application/json"):
    """A watch's answer is a line for each event; the content type alone says JSON."""
    query = {key: value for key, value in query.items() if value != ""}
    status, text = await api("GET", path, accept=accept, lines=True, **query)
    return status, [json.loads(line) for line in text.splitlines() if line]


def told(events):
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events if event["type"] != "BOOKMARK"]


async def test_changes_after_a_list_come_in_order(cluster, watch):
    async def act():
        await cluster.create(CONFIG_MAPS, config_map("a"))
        await cluster.patch(CONFIG_MAPS, "a", {"data": {"x": "1"}})
        await cluster.delete(CONFIG_MAPS, "a")

    events = await watch(act)
    assert told(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert all(event["object"]["kind"] == "ConfigMap" for event in events)
    assert events[2]["object"]["data"] == {"x": "1"}


async def test_without_a_version_what_is_there_comes_first(cluster, watch):
    await cluster.create(CONFIG_MAPS, config_map("a"))
    assert told(await watch(version="")) == [("ADDED", "a")]


async def test_what_stops_matching_is_deleted_and_what_begins_to_is_added(cluster, watch):
    await cluster.create(CONFIG_MAPS, config_map("a"))

    async def act():
        await cluster.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"mine": "no"}}})
        await cluster.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"mine": "yes"}}})

    assert told(await watch(act)) == [("DELETED", "a"), ("ADDED", "a")]


async def test_only_the_object_that_a_field_selector_names(cluster, watch):
    async def act():
        for name in ("a", "b"):
            await cluster.create(CONFIG_MAPS, config_map(name))

    assert told(await watch(act, fieldSelector="metadata.name=b")) == [("ADDED", "b")]


async def test_a_list_by_watch_ends_with_a_bookmark(cluster, watch):
    await cluster.create(CONFIG_MAPS, config_map("a"))
    events = await watch(version="", sendInitialEvents="true", allowWatchBookmarks="true", resourceVersionMatch="NotOlderThan")
    if events[0].get("kind") == "Status":
        pytest.skip("this server has no watch lists")
    assert told(events) == [("ADDED", "a")]
    marks = [event["object"]["metadata"] for event in events if event["type"] == "BOOKMARK"]
    assert marks[0]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_forgotten_version_has_expired(watch):
    events = await watch(version="1")
    if not events and "CHREK_TEST_KUBECONFIG" in os.environ:
        pytest.skip("this server has no past to forget yet")
    assert events[0]["type"] == "ERROR"
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")


async def test_rows_of_a_table(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, config_map("a"))
    query = {"watch": "true", "timeoutSeconds": 1, "labelSelector": "mine=yes"}
    _, events = await raw(api, CONFIG_MAPS.path(namespace), query, TABLE)
    assert events[0]["object"]["kind"] == "Table"
    assert events[0]["object"]["rows"][0]["cells"][0] == "a"


async def test_our_own_client_follows_a_status(cluster, checkpoint_body):
    seen = []
    async with asyncio.timeout(60), aclosing(cluster.watch(CHECKPOINTS)) as events:
        async for event in events:
            seen.append((event.type, event.object.get("status", {}).get("phase")))
            if event.type == "SYNCED":
                await cluster.create(CHECKPOINTS, checkpoint_body)
            elif event.type == "ADDED":
                await cluster.patch(CHECKPOINTS, "one", {"status": {"phase": "Ready"}}, subresource="status")
            elif event.type == "MODIFIED":
                await cluster.delete(CHECKPOINTS, "one")
            else:
                break
    assert seen == [("SYNCED", None), ("ADDED", None), ("MODIFIED", "Ready"), ("DELETED", "Ready")]


@asynccontextmanager
async def typed_client(kubeconfig):
    await config.load_kube_config(str(kubeconfig))
    async with client.ApiClient() as connection:
        yield client.CoreV1Api(connection)


async def test_the_kubernetes_package_creates_and_watches(cluster_config, namespace):
    async with typed_client(cluster_config) as core, asyncio.timeout(60):
        metadata = client.V1ObjectMeta(name="typed", labels={"mine": "yes"})
        await core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=metadata, data={"a": "b"}))
        async with Watch() as events:
            async for event in events.stream(core.list_namespaced_config_map, namespace, label_selector="mine=yes"):
                assert (event["type"], event["object"].data) == ("ADDED", {"a": "b"})
                break
