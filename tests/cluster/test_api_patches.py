"""The four kinds of patches."""

import pytest

from kubectl_chrek.api.errors import ConflictError, UsageError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, DEPLOYMENTS

pytestmark = pytest.mark.cluster


@pytest.fixture
async def deployment(cluster):
    pod = {
        "schedulerName": "nobody",
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}],
        "containers": [
            {"name": "main", "image": "x:1", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]},
            {"name": "side", "image": "y:1"},
        ],
    }
    template = {"metadata": {"labels": {"app": "d"}}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    return await cluster.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})


async def strategic(cluster, pod):
    after = await cluster.patch(DEPLOYMENTS, "d", {"spec": {"template": {"spec": pod}}}, type="strategic")
    return after["spec"]["template"]["spec"]


async def test_merge_replaces_lists_and_deletes_nulls(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    patch = {"metadata": {"annotations": {"a": "1", "b": "2"}}}
    await cluster.patch(CHECKPOINTS, "one", patch)
    after = await cluster.patch(CHECKPOINTS, "one", {"metadata": {"annotations": {"a": None}}})
    assert after["metadata"]["annotations"] == {"b": "2"}


async def test_merge_with_an_old_version_is_a_conflict(cluster):
    first = await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one"}})
    await cluster.patch(CONFIG_MAPS, "one", {"data": {"a": "1"}})
    version = first["metadata"]["resourceVersion"]
    with pytest.raises(ConflictError, match="the object has been modified"):
        await cluster.patch(CONFIG_MAPS, "one", {"metadata": {"resourceVersion": version}, "data": {"a": "2"}})


async def test_json_adds_replaces_and_removes(cluster):
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one", "labels": {"x": "y"}}, "data": {"a": "1", "b": "2"}})
    steps = [
        {"op": "replace", "path": "/data/a", "value": "3"},
        {"op": "remove", "path": "/data/b"},
        {"op": "add", "path": "/data/c~1d", "value": "4"},
        {"op": "copy", "from": "/data/a", "path": "/data/e"},
        {"op": "move", "from": "/data/e", "path": "/data/f"},
    ]
    with pytest.raises(UsageError):
        await cluster.patch(CONFIG_MAPS, "one", steps, type="json")
    steps[2]["path"] = "/data/c.d"
    after = await cluster.patch(CONFIG_MAPS, "one", steps, type="json")
    assert after["data"] == {"a": "3", "c.d": "4", "f": "3"}


async def test_json_works_on_lists(cluster):
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one", "finalizers": ["example.com/a"]}})
    steps = [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/b"}]
    assert (await cluster.patch(CONFIG_MAPS, "one", steps, type="json"))["metadata"]["finalizers"][1] == "example.com/b"
    steps = [
        {"op": "test", "path": "/metadata/finalizers/1", "value": "example.com/b"},
        {"op": "remove", "path": "/metadata/finalizers"},
    ]
    assert "finalizers" not in (await cluster.patch(CONFIG_MAPS, "one", steps, type="json"))["metadata"]


async def test_json_whose_test_fails_changes_nothing(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "one"}, "data": {"a": "1"}})
    steps = [{"op": "replace", "path": "/data/a", "value": "2"}, {"op": "test", "path": "/data/a", "value": "9"}]
    status, _ = await api("PATCH", CONFIG_MAPS.path(namespace, "one"), steps, content_type="application/json-patch+json")
    assert status == 422
    assert (await cluster.get(CONFIG_MAPS, "one"))["data"] == {"a": "1"}


async def test_strategic_merges_containers_by_name_and_env_by_name(cluster, deployment):
    pod = await strategic(cluster, {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]})
    assert [container["image"] for container in pod["containers"]] == ["x:1", "y:1"]
    assert {item["name"]: item["value"] for item in pod["containers"][0]["env"]} == {"A": "1", "B": "2"}


async def test_strategic_deletes_items(cluster, deployment):
    patch = {"containers": [{"name": "side", "$patch": "delete"}], "volumes": [{"name": "a", "$patch": "delete"}]}
    pod = await strategic(cluster, patch)
    assert [container["name"] for container in pod["containers"]] == ["main"]
    assert [volume["name"] for volume in pod["volumes"]] == ["b"]


async def test_strategic_replaces_a_whole_list(cluster, deployment):
    pod = await strategic(cluster, {"volumes": [{"$patch": "replace"}, {"name": "c", "emptyDir": {}}]})
    assert pod["volumes"] == [{"name": "c", "emptyDir": {}}]


async def test_strategic_retains_only_the_keys_named(cluster, deployment):
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    after = await cluster.patch(DEPLOYMENTS, "d", patch, type="strategic")
    assert after["spec"]["strategy"] == {"type": "Recreate"}


async def test_strategic_merges_finalizers_as_a_set(cluster, deployment):
    for name in ("example.com/a", "example.com/b", "example.com/a"):
        after = await cluster.patch(DEPLOYMENTS, "d", {"metadata": {"finalizers": [name]}}, type="strategic")
    assert sorted(after["metadata"]["finalizers"]) == ["example.com/a", "example.com/b"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}
    after = await cluster.patch(DEPLOYMENTS, "d", patch, type="strategic")
    assert after["metadata"]["finalizers"] == ["example.com/b"]
    await cluster.patch(DEPLOYMENTS, "d", {"metadata": {"finalizers": None}})


async def test_strategic_on_a_custom_resource_is_an_unsupported_media_type(api, cluster, namespace, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    content_type = "application/strategic-merge-patch+json"
    status, body = await api("PATCH", CHECKPOINTS.path(namespace, "one"), {}, content_type=content_type)
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")


def applied(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}


@pytest.fixture
def apply(api, namespace):
    async def by(manager, body, **query):
        path = CONFIG_MAPS.path(namespace, body["metadata"]["name"])
        return await api("PATCH", path, body, content_type="application/apply-patch+yaml", fieldManager=manager, **query)

    return by


async def test_apply_creates_and_removes_what_is_left_out(apply):
    assert (await apply("me", applied(a="1", b="2")))[0] == 201
    status, body = await apply("me", applied(a="3"))
    assert status == 200
    assert body["data"] == {"a": "3"}


async def test_apply_leaves_what_others_applied(apply):
    await apply("me", applied(a="1"))
    await apply("you", applied(b="2"))
    _, body = await apply("me", applied(c="3"))
    assert body["data"] == {"b": "2", "c": "3"}


async def test_apply_of_another_value_conflicts_unless_forced(apply):
    await apply("me", applied(a="1"))
    status, body = await apply("you", applied(a="2"))
    assert (status, body["reason"]) == (409, "Conflict")
    assert body["message"] == 'Apply failed with 1 conflict: conflict with "me": .data.a'
    status, body = await apply("you", applied(a="2"), force="true")
    assert body["data"] == {"a": "2"}


async def test_apply_needs_a_manager(api, namespace):
    path = CONFIG_MAPS.path(namespace, "one")
    status, _ = await api("PATCH", path, applied(), content_type="application/apply-patch+yaml")
    assert status in (400, 422)


async def test_apply_merges_conditions_of_a_custom_resource_by_type(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    since = "2026-01-01T00:00:00Z"
    condition = {"status": "True", "reason": "R", "message": "", "lastTransitionTime": since}
    first = [{"type": "A"} | condition]
    await cluster.patch(CHECKPOINTS, "one", {"status": {"conditions": first}}, subresource="status")
    envelope = {"apiVersion": checkpoint_body["apiVersion"], "kind": checkpoint_body["kind"], "metadata": {"name": "one"}}
    body = envelope | {"status": {"conditions": [{"type": "B"} | condition]}}
    after = await cluster.patch(CHECKPOINTS, "one", body, type="apply", subresource="status")
    assert [item["type"] for item in after["status"]["conditions"]] == ["A", "B"]
