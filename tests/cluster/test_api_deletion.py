"""Deletion: finalizers, preconditions, owners, namespaces, the grace of pods."""

import asyncio
from contextlib import aclosing

import pytest

from kubectl_chrek.api.errors import ConflictError, NotFoundError, UsageError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, JOBS, NAMESPACES, PODS

pytestmark = pytest.mark.cluster

FINALIZER = "example.com/hold"


def config_map(name, owner=None, **metadata):
    body = {"metadata": {"name": name} | metadata}
    if owner:
        body["metadata"]["ownerReferences"] = [reference(owner)]
    return body


def reference(owner, **more):
    metadata = owner["metadata"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"]} | more


def pod(name, **spec):
    containers = [{"name": "main", "image": "example.invalid/x:1"}]
    return {"metadata": {"name": name}, "spec": {"schedulerName": "nobody", "containers": containers} | spec}


@pytest.fixture
def gone(cluster):
    """Waits until an object is no longer there."""

    async def wait(resource, name, namespace=None):
        async with asyncio.timeout(60), aclosing(cluster.watch(resource, namespace, fields=f"metadata.name={name}")) as events:
            seen = False
            async for event in events:
                seen = seen or event.type == "ADDED"
                if event.type == "DELETED" or (event.type == "SYNCED" and not seen):
                    return

    return wait


@pytest.fixture
def delete(api, namespace):
    async def request(resource, name, **options):
        return await api("DELETE", resource.path(namespace, name), options or None)

    return request


async def test_delete_answers_success_and_it_is_gone(cluster, delete):
    await cluster.create(CONFIG_MAPS, config_map("one"))
    status, body = await delete(CONFIG_MAPS, "one")
    assert (status, body["kind"], body["status"]) == (200, "Status", "Success")
    with pytest.raises(NotFoundError):
        await cluster.get(CONFIG_MAPS, "one")


async def test_delete_of_a_missing_object_is_not_found(cluster):
    with pytest.raises(NotFoundError, match='configmaps "none" not found'):
        await cluster.delete(CONFIG_MAPS, "none")


async def test_a_finalizer_holds_the_object(cluster):
    await cluster.create(CONFIG_MAPS, config_map("one", finalizers=[FINALIZER]))
    body = await cluster.delete(CONFIG_MAPS, "one")
    assert body["metadata"]["deletionTimestamp"]
    again = await cluster.delete(CONFIG_MAPS, "one")
    assert again["metadata"]["deletionTimestamp"] == body["metadata"]["deletionTimestamp"]
    await cluster.patch(CONFIG_MAPS, "one", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFoundError):
        await cluster.get(CONFIG_MAPS, "one")


async def test_no_finalizer_can_be_added_once_it_is_being_deleted(cluster):
    await cluster.create(CONFIG_MAPS, config_map("one", finalizers=[FINALIZER]))
    await cluster.delete(CONFIG_MAPS, "one")
    with pytest.raises(UsageError, match=r"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being"):
        await cluster.patch(CONFIG_MAPS, "one", {"metadata": {"finalizers": [FINALIZER, "example.com/late"]}})
    await cluster.patch(CONFIG_MAPS, "one", {"metadata": {"finalizers": None}})


async def test_another_uid_is_a_conflict(cluster):
    body = await cluster.create(CONFIG_MAPS, config_map("one"))
    with pytest.raises(ConflictError, match=r"on ConfigMap \"one\": the UID in the precondition \(other\) does not match"):
        await cluster.delete(CONFIG_MAPS, "one", uid="other")
    await cluster.delete(CONFIG_MAPS, "one", uid=body["metadata"]["uid"])


async def test_dry_run_deletes_nothing(cluster):
    await cluster.create(CONFIG_MAPS, config_map("one"))
    await cluster.delete(CONFIG_MAPS, "one", dry_run=True)
    assert await cluster.get(CONFIG_MAPS, "one")


async def test_options_in_the_body_are_all_that_count(api, cluster, namespace):
    path = CONFIG_MAPS.path(namespace, "one")
    await cluster.create(CONFIG_MAPS, config_map("one"))
    assert (await api("DELETE", path, dryRun="All"))[0] == 200
    assert (await api("DELETE", path, {"dryRun": ["All"]}))[0] == 200
    assert (await api("DELETE", path, {"propagationPolicy": "Background"}, dryRun="All"))[0] == 200
    assert (await api("GET", path))[0] == 404


async def test_another_version_is_a_conflict(cluster, delete, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    status, body = await delete(CHECKPOINTS, "one", preconditions={"resourceVersion": "1"})
    assert (status, body["reason"]) == (409, "Conflict")
    why = "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ("
    assert body["message"].startswith(f'Operation cannot be fulfilled on DynamoCheckpoint.nvidia.com "one": {why}')
    assert body["details"] == {"name": "one", "group": "nvidia.com", "kind": "DynamoCheckpoint"}


async def test_what_an_owner_owned_goes_after_it(cluster, gone):
    owner = await cluster.create(CONFIG_MAPS, config_map("owner"))
    child = await cluster.create(CONFIG_MAPS, config_map("child", owner))
    await cluster.create(CONFIG_MAPS, config_map("grandchild", child))
    await cluster.delete(CONFIG_MAPS, "owner")
    await gone(CONFIG_MAPS, "child")
    await gone(CONFIG_MAPS, "grandchild")


async def test_what_has_another_owner_stays(cluster, gone):
    first, second = [await cluster.create(CONFIG_MAPS, config_map(name)) for name in ("first", "second")]
    both = config_map("both", ownerReferences=[reference(first), reference(second)])
    await cluster.create(CONFIG_MAPS, both)
    await cluster.create(CONFIG_MAPS, config_map("canary", first))
    await cluster.delete(CONFIG_MAPS, "first")
    await gone(CONFIG_MAPS, "canary")
    assert await cluster.get(CONFIG_MAPS, "both")


async def test_an_owner_that_never_was_takes_its_dependent_along(cluster, gone):
    ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-4000-8000-000000000000"}}
    await cluster.create(CONFIG_MAPS, config_map("child", ghost))
    await gone(CONFIG_MAPS, "child")


async def test_in_the_foreground_the_owner_goes_last(cluster, delete, gone):
    owner = await cluster.create(CONFIG_MAPS, config_map("owner"))
    references = [reference(owner, blockOwnerDeletion=True)]
    child = config_map("child", ownerReferences=references, finalizers=[FINALIZER])
    await cluster.create(CONFIG_MAPS, child)
    _, body = await delete(CONFIG_MAPS, "owner", propagationPolicy="Foreground")
    assert body["metadata"]["finalizers"] == ["foregroundDeletion"]
    async with asyncio.timeout(60), aclosing(cluster.watch(CONFIG_MAPS, fields="metadata.name=child")) as events:
        async for event in events:
            if event.object.get("metadata", {}).get("deletionTimestamp"):
                break
    assert await cluster.get(CONFIG_MAPS, "owner")
    await cluster.patch(CONFIG_MAPS, "child", {"metadata": {"finalizers": None}})
    await gone(CONFIG_MAPS, "owner")


async def test_orphans_stay(cluster, delete, gone):
    owner = await cluster.create(CONFIG_MAPS, config_map("owner"))
    await cluster.create(CONFIG_MAPS, config_map("child", owner))
    await delete(CONFIG_MAPS, "owner", propagationPolicy="Orphan")
    await gone(CONFIG_MAPS, "owner")
    assert "ownerReferences" not in (await cluster.get(CONFIG_MAPS, "child"))["metadata"]


async def test_a_job_orphans_its_pods_unless_told_otherwise(api, cluster, namespace):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.invalid/x:1"}]}}
    await cluster.create(
        JOBS, {"metadata": {"name": "j", "finalizers": [FINALIZER]}, "spec": {"suspend": True, "template": template}}
    )
    _, body = await api("DELETE", JOBS.path(namespace, "j"))
    assert "orphan" in body["metadata"]["finalizers"]
    await cluster.patch(JOBS, "j", {"metadata": {"finalizers": None}})


async def test_a_whole_collection(api, cluster, namespace):
    for name, label in (("a", "yes"), ("b", "yes"), ("c", "no")):
        await cluster.create(CONFIG_MAPS, config_map(name, labels={"go": label}))
    status, _ = await api("DELETE", CONFIG_MAPS.path(namespace), labelSelector="go=yes")
    assert status == 200
    assert [item["metadata"]["name"] for item in await cluster.list(CONFIG_MAPS, labels="go")] == ["c"]


async def test_a_namespace_takes_its_content_along(cluster, gone):
    name = f"{cluster.namespace}-2"
    await cluster.create(NAMESPACES, {"metadata": {"name": name}})
    await cluster.create(CONFIG_MAPS, config_map("held", finalizers=[FINALIZER]), name)
    body = await cluster.delete(NAMESPACES, name)
    assert body["status"]["phase"] == "Terminating"
    async with asyncio.timeout(60), aclosing(cluster.watch(CONFIG_MAPS, name, fields="metadata.name=held")) as events:
        async for event in events:
            if event.object.get("metadata", {}).get("deletionTimestamp"):
                break
    with pytest.raises(Exception, match="because it is being terminated"):
        await cluster.create(CONFIG_MAPS, config_map("late"), name)
    await cluster.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, name)
    await gone(NAMESPACES, name)


async def test_a_pod_without_a_node_goes_at_once(cluster):
    await cluster.create(PODS, pod("p"))
    await cluster.delete(PODS, "p")
    with pytest.raises(NotFoundError):
        await cluster.get(PODS, "p")


async def test_a_pod_on_a_node_gets_its_grace(cluster, delete):
    await cluster.create(PODS, pod("p", nodeName="chrek-no-such-node", terminationGracePeriodSeconds=300))
    body = await cluster.delete(PODS, "p")
    assert body["metadata"]["deletionGracePeriodSeconds"] == 300
    _, body = await delete(PODS, "p", gracePeriodSeconds=100)
    assert body["metadata"]["deletionGracePeriodSeconds"] == 100
    await delete(PODS, "p", gracePeriodSeconds=0)
    with pytest.raises(NotFoundError):
        await cluster.get(PODS, "p")
