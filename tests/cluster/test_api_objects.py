"""Creating, reading and changing objects."""

import pytest

from kubectl_chrek.api.errors import ConflictError, NotFoundError, UsageError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, LEASES

pytestmark = pytest.mark.cluster


def config_map(name, **data):
    return {"metadata": {"name": name}, "data": data}


async def test_create_sets_what_the_server_owns(api, namespace):
    path = CONFIG_MAPS.path(namespace)
    status, body = await api("POST", path, config_map("one", a="b") | {"metadata": {"name": "one", "uid": "mine"}})
    assert status == 201
    assert (body["kind"], body["apiVersion"]) == ("ConfigMap", "v1")
    metadata = body["metadata"]
    assert metadata["namespace"] == namespace
    assert metadata["uid"] != "mine"
    assert metadata["resourceVersion"].isdecimal()
    assert metadata["creationTimestamp"].endswith("Z")
    assert "generation" not in metadata


async def test_generate_name_adds_five_characters(cluster):
    body = await cluster.create(CONFIG_MAPS, {"metadata": {"generateName": "many-"}})
    assert len(body["metadata"]["name"]) == len("many-") + 5


async def test_a_taken_name_is_a_conflict(api, namespace):
    path = CONFIG_MAPS.path(namespace)
    await api("POST", path, config_map("one"))
    status, body = await api("POST", path, config_map("one"))
    assert status == 409
    assert body["reason"] == "AlreadyExists"
    assert body["message"] == 'configmaps "one" already exists'
    assert body["details"] == {"name": "one", "kind": "configmaps"}


async def test_a_missing_object_is_not_found(api, namespace):
    status, body = await api("GET", CHECKPOINTS.path(namespace, "none"))
    assert status == 404
    assert body["message"] == 'dynamocheckpoints.nvidia.com "none" not found'
    assert body["details"] == {"name": "none", "group": "nvidia.com", "kind": "dynamocheckpoints"}


async def test_an_unknown_path_is_not_found(api, namespace):
    status, _ = await api("GET", f"/apis/nvidia.com/v1alpha1/namespaces/{namespace}/nothings")
    assert status == 404


async def test_a_missing_namespace_is_not_found(cluster):
    with pytest.raises(NotFoundError, match='namespaces "chrek-no-such" not found'):
        await cluster.create(CONFIG_MAPS, config_map("one"), "chrek-no-such")


async def test_another_namespace_in_the_body_is_refused(cluster):
    body = config_map("one") | {"metadata": {"name": "one", "namespace": "default"}}
    with pytest.raises(UsageError, match="the namespace of the provided object does not match the namespace sent on the request"):
        await cluster.create(CONFIG_MAPS, body)


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "a" * 254])
async def test_a_bad_name_is_invalid(cluster, name):
    with pytest.raises(UsageError, match=r'ConfigMap ".*" is invalid: metadata.name: Invalid value'):
        await cluster.create(CONFIG_MAPS, config_map(name))


async def test_a_bad_label_value_is_invalid(cluster):
    body = config_map("one") | {"metadata": {"name": "one", "labels": {"a": "b c"}}}
    with pytest.raises(UsageError, match=r'metadata.labels: Invalid value: "b c"'):
        await cluster.create(CONFIG_MAPS, body)


async def test_a_label_that_is_no_string_is_a_bad_request(api, namespace):
    body = config_map("one") | {"metadata": {"name": "one", "labels": {"a": 1}}}
    status, answer = await api("POST", CONFIG_MAPS.path(namespace), body)
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_an_update_with_an_old_version_is_a_conflict(cluster):
    first = await cluster.create(CONFIG_MAPS, config_map("one", a="1"))
    second = await cluster.replace(CONFIG_MAPS, first | {"data": {"a": "2"}})
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    message = 'Operation cannot be fulfilled on configmaps "one": the object has been modified; please apply your changes to the'
    with pytest.raises(ConflictError, match=message):
        await cluster.replace(CONFIG_MAPS, first | {"data": {"a": "3"}})


async def test_an_update_without_a_version_overwrites_a_built_in_object(cluster):
    await cluster.create(CONFIG_MAPS, config_map("one", a="1"))
    assert (await cluster.replace(CONFIG_MAPS, config_map("one", a="2")))["data"] == {"a": "2"}


async def test_an_update_of_a_custom_resource_needs_a_version(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    with pytest.raises(UsageError, match=r"metadata.resourceVersion: Invalid value: .*must be specified for an update"):
        await cluster.replace(CHECKPOINTS, checkpoint_body)


async def test_an_update_that_changes_nothing_keeps_the_version(cluster):
    first = await cluster.create(CONFIG_MAPS, config_map("one", a="1"))
    again = await cluster.patch(CONFIG_MAPS, "one", {"data": {"a": "1"}})
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_an_update_of_a_missing_object_is_not_found(cluster):
    with pytest.raises(NotFoundError):
        await cluster.replace(CONFIG_MAPS, config_map("none"))


async def test_uid_and_creation_time_cannot_be_changed(api, cluster, namespace):
    first = await cluster.create(CONFIG_MAPS, config_map("one"))
    patch = {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}
    after = await cluster.patch(CONFIG_MAPS, "one", patch)
    assert after["metadata"]["creationTimestamp"] == first["metadata"]["creationTimestamp"]
    status, answer = await api(
        "PUT", CONFIG_MAPS.path(namespace, "one"), config_map("one") | {"metadata": {"name": "one", "uid": "x"}}
    )
    assert (status, answer["reason"]) == (409, "Conflict")


async def test_dry_run_stores_nothing(cluster):
    body = await cluster.create(CONFIG_MAPS, config_map("one"), dry_run=True)
    assert body["metadata"]["uid"]
    with pytest.raises(NotFoundError):
        await cluster.get(CONFIG_MAPS, "one")


async def test_lists_have_kind_and_version(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, config_map("one"))
    status, body = await api("GET", CONFIG_MAPS.path(namespace))
    assert (status, body["kind"], body["apiVersion"]) == (200, "ConfigMapList", "v1")
    assert body["metadata"]["resourceVersion"].isdecimal()
    assert "kind" not in next(item for item in body["items"] if item["metadata"]["name"] == "one")


async def test_lists_come_in_pages(api, cluster, namespace):
    for index in range(5):
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": f"p{index}", "labels": {"page": "yes"}}})
    names, query = [], {"limit": 2, "labelSelector": "page=yes"}
    while True:
        _, page = await api("GET", CONFIG_MAPS.path(namespace), **query)
        names.append([item["metadata"]["name"] for item in page["items"]])
        if not page["metadata"].get("continue"):
            break
        query["continue"] = page["metadata"]["continue"]
    assert names == [["p0", "p1"], ["p2", "p3"], ["p4"]]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("a=1", ["x"]),
        ("a==1,b", ["x"]),
        ("a!=1", ["y", "z"]),
        ("a", ["x", "y"]),
        ("!a", ["z"]),
        ("a in (1, 2)", ["x", "y"]),
        ("a notin (1)", ["y", "z"]),
        ("a=", []),
    ],
)
async def test_label_selectors(cluster, selector, expected):
    for name, labels in (("x", {"a": "1", "b": ""}), ("y", {"a": "2"}), ("z", {"set": "c"})):
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": name, "labels": labels | {"t": "t"}}})
    assert [item["metadata"]["name"] for item in await cluster.list(CONFIG_MAPS, labels=f"t=t,{selector}")] == expected


async def test_field_selectors(api, cluster, namespace):
    for name in ("x", "y"):
        await cluster.create(CONFIG_MAPS, config_map(name))
    assert [item["metadata"]["name"] for item in await cluster.list(CONFIG_MAPS, fields="metadata.name=y")] == ["y"]
    status, _ = await api("GET", CONFIG_MAPS.path(namespace), fieldSelector="data.a=b")
    assert status == 400


async def test_a_lease_wants_microseconds(cluster):
    lease = {"metadata": {"name": "one"}, "spec": {"holderIdentity": "me", "renewTime": "2026-01-01T00:00:00.000000Z"}}
    assert (await cluster.create(LEASES, lease))["spec"] == lease["spec"]
    with pytest.raises(UsageError, match="parsing time"):
        await cluster.patch(LEASES, "one", {"spec": {"renewTime": "2026-01-01T00:00:00Z"}})


async def test_a_method_that_a_path_does_not_have_is_not_allowed(api, namespace):
    status, body = await api("PUT", CONFIG_MAPS.path(namespace), config_map("one"))
    assert (status, body["reason"]) == (405, "MethodNotAllowed")


async def test_tables_for_those_who_ask(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, config_map("one", a="1"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    _, body = await api("GET", CONFIG_MAPS.path(namespace, "one"), accept=accept)
    assert body["kind"] == "Table"
    assert [column["name"] for column in body["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert body["rows"][0]["cells"][:2] == ["one", 1]
    assert body["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    _, whole = await api("GET", CONFIG_MAPS.path(namespace, "one"), accept=accept, includeObject="Object")
    assert whole["rows"][0]["object"]["data"] == {"a": "1"}


async def test_metadata_alone_for_those_who_ask(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, config_map("one", a="1"))
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    _, body = await api("GET", CONFIG_MAPS.path(namespace), accept=accept, fieldSelector="metadata.name=one")
    assert body["kind"] == "PartialObjectMetadataList"
    assert "data" not in body["items"][0]
