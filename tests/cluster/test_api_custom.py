"""Custom resources: validation, defaults, pruning, subresources, and definitions that come and go."""

import asyncio
import copy
import uuid

import pytest

from kubectl_chrek.api.errors import ConflictError, NotFoundError, UsageError
from kubectl_chrek.cluster import Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, CRDS, GRAPHS

pytestmark = pytest.mark.cluster

GRAPH = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": {"name": "one"}}


def with_identity(body, **fields):
    changed = copy.deepcopy(body)
    changed["spec"]["identity"] |= fields
    return changed


async def test_defaults_are_filled_in(cluster, checkpoint_body):
    body = await cluster.create(CHECKPOINTS, checkpoint_body)
    assert body["spec"]["identity"]["tensorParallelSize"] == 1
    assert body["spec"]["job"]["ttlSecondsAfterFinished"] == 300
    assert body["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"backendFramework": "tgi"},
            r'spec.identity.backendFramework: Unsupported value: "tgi": supported values: "vllm", "sglang", "trtllm"',
        ),
        ({"model": ""}, r'spec.identity.model: Invalid value: "": spec.identity.model in body should be at least 1 chars long'),
        (
            {"tensorParallelSize": 0},
            r"spec.identity.tensorParallelSize: Invalid value: 0: .* in body should be greater than or equal to 1",
        ),
        (
            {"maxModelLen": "8k"},
            r'spec.identity.maxModelLen: Invalid value: "string": .*maxModelLen in body must be of type integer: "string"',
        ),
        ({"extraParameters": {"a": 1}}, r"spec.identity.extraParameters.a: Invalid value: .* must be of type string"),
    ],
)
async def test_an_invalid_field_is_refused_in_the_servers_words(cluster, checkpoint_body, fields, message):
    with pytest.raises(UsageError, match=rf'DynamoCheckpoint.nvidia.com "one" is invalid: .*{message}'):
        await cluster.create(CHECKPOINTS, with_identity(checkpoint_body, **fields))


async def test_a_missing_field_is_required(api, namespace, checkpoint_body):
    del checkpoint_body["spec"]["identity"]["model"]
    status, body = await api("POST", CHECKPOINTS.path(namespace), checkpoint_body)
    assert (status, body["reason"]) == (422, "Invalid")
    assert "spec.identity.model: Required value" in body["message"]
    causes = [(cause["reason"], cause["field"]) for cause in body["details"]["causes"]]
    assert ("FieldValueRequired", "spec.identity.model") in causes


async def test_an_unknown_field_is_pruned(cluster, checkpoint_body):
    body = await cluster.create(CHECKPOINTS, with_identity(checkpoint_body, colour="red"))
    assert "colour" not in body["spec"]["identity"]


async def test_unknown_fields_of_a_pod_template_are_kept(cluster, checkpoint_body):
    checkpoint_body["spec"]["job"]["podTemplateSpec"]["spec"]["someday"] = {"a": 1}
    body = await cluster.create(CHECKPOINTS, checkpoint_body)
    assert body["spec"]["job"]["podTemplateSpec"]["spec"]["someday"] == {"a": 1}


async def test_an_unknown_field_is_refused_in_strict_mode(api, namespace, checkpoint_body):
    body = with_identity(checkpoint_body, colour="red")
    status, answer = await api("POST", CHECKPOINTS.path(namespace), body, fieldValidation="Strict")
    assert status == 400
    assert 'unknown field "spec.identity.colour"' in answer["message"]


async def test_the_identity_is_immutable(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    with pytest.raises(UsageError, match=r'spec.identity: Invalid value: ("object": )?spec.identity is immutable after creation'):
        await cluster.patch(CHECKPOINTS, "one", {"spec": {"identity": {"model": "other"}}})


async def test_a_graph_that_enables_a_checkpoint_must_name_one(cluster):
    service = {"checkpoint": {"enabled": True}}
    with pytest.raises(UsageError, match="When enabled, either checkpointRef or both"):
        await cluster.create(GRAPHS, GRAPH | {"spec": {"services": {"Worker": service}}})
    service["checkpoint"]["checkpointRef"] = "x"
    body = await cluster.create(GRAPHS, GRAPH | {"spec": {"services": {"Worker": service}}})
    assert body["spec"]["services"]["Worker"]["checkpoint"]["mode"] == "Auto"


async def test_a_graph_keeps_fields_it_does_not_know(cluster):
    spec = {"services": {"Worker": {"replicas": 1, "extraPodSpec": {"mainContainer": {"image": "x"}}}}, "later": [1, {"a": None}]}
    assert (await cluster.create(GRAPHS, GRAPH | {"spec": spec}))["spec"]["services"] == spec["services"]


async def test_a_graph_has_at_most_25_services(cluster):
    services = {f"s{index}": {} for index in range(26)}
    with pytest.raises(UsageError, match=r"spec.services: Too many: 26: must have at most 25 items"):
        await cluster.create(GRAPHS, GRAPH | {"spec": {"services": services}})


async def test_spec_and_status_are_written_apart(cluster, checkpoint_body):
    created = await cluster.create(CHECKPOINTS, checkpoint_body | {"status": {"phase": "Ready"}})
    assert "status" not in created
    change = {"spec": {"job": {"backoffLimit": 9}}, "status": {"phase": "Creating"}, "metadata": {"labels": {"a": "b"}}}
    after = await cluster.patch(CHECKPOINTS, "one", change, subresource="status")
    assert after["status"] == {"phase": "Creating"}
    assert after["spec"] == created["spec"]
    assert after["metadata"]["generation"] == 1
    assert "labels" not in after["metadata"]
    after = await cluster.patch(CHECKPOINTS, "one", change | {"status": {"phase": "Failed"}})
    assert after["status"] == {"phase": "Creating"}
    assert after["spec"]["job"]["backoffLimit"] == 9
    assert after["metadata"]["generation"] == 2


async def test_the_status_is_validated_too(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    with pytest.raises(UsageError, match=r'status.phase: Unsupported value: "Done"'):
        await cluster.patch(CHECKPOINTS, "one", {"status": {"phase": "Done"}}, subresource="status")


async def test_labels_alone_leave_the_generation(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    after = await cluster.patch(CHECKPOINTS, "one", {"metadata": {"labels": {"a": "b"}}})
    assert after["metadata"]["generation"] == 1


@pytest.fixture
async def definition(cluster):
    """A definition of its own group, established."""
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}
    name = f"widgets.{group}"
    created = await cluster.create(CRDS, {"metadata": {"name": name}, "spec": spec})
    assert created["status"] == {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]}
    async with asyncio.timeout(60):
        async for event in cluster.watch(CRDS, fields=f"metadata.name={name}"):
            conditions = {item["type"]: item["status"] for item in event.object.get("status", {}).get("conditions") or []}
            if conditions.get("Established") == "True":
                yield Resource(f"{group}/v1", "Widget", "widgets")
                break
    try:
        await cluster.delete(CRDS, name)
    except NotFoundError:
        return


async def served(cluster, widgets):
    """Waits until a new definition's path answers; a real server takes a moment."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await cluster.list(widgets)
            except NotFoundError:
                await asyncio.sleep(0.1)


async def test_a_definition_is_served_at_once(cluster, definition, kubectl):
    assert await served(cluster, definition) == []
    body = await cluster.create(
        definition, {"apiVersion": definition.api_version, "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, "x": 2}}
    )
    assert body["spec"] == {"size": 1}
    assert (await kubectl("get", f"widgets.{definition.group}")).stdout.split()[:3] == ["NAME", "AGE", "w"]


async def test_a_deleted_definition_takes_its_objects_along(cluster, definition):
    await served(cluster, definition)
    await cluster.create(definition, {"apiVersion": definition.api_version, "kind": "Widget", "metadata": {"name": "w"}})
    name = f"widgets.{definition.group}"
    watch = cluster.watch(CRDS, fields=f"metadata.name={name}")
    async with asyncio.timeout(60):
        async for event in watch:
            if event.type == "SYNCED":
                await cluster.delete(CRDS, name)
            if event.type == "DELETED":
                break
    await watch.aclose()
    with pytest.raises(NotFoundError):
        await cluster.get(CRDS, name)


async def test_a_definition_must_carry_its_own_name(cluster):
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "g.example.com", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"}, "versions": [version]}
    with pytest.raises(UsageError, match=r"metadata.name: Invalid value"):
        await cluster.create(CRDS, {"metadata": {"name": "bs.g.example.com"}, "spec": spec})


async def test_a_patch_of_a_status_is_not_held_to_the_uid_that_it_names(cluster, checkpoint_body):
    made = await cluster.create(CHECKPOINTS, checkpoint_body)
    foreign = {"uid": "00000000-0000-0000-0000-000000000000"}
    taken = await cluster.patch(CHECKPOINTS, "one", {"metadata": foreign, "status": {"message": "x"}}, subresource="status")
    assert (taken["status"]["message"], taken["metadata"]["uid"]) == ("x", made["metadata"]["uid"])
    with pytest.raises(UsageError, match=r"metadata.uid: Invalid value: .*: field is immutable"):
        await cluster.patch(CHECKPOINTS, "one", {"metadata": foreign | {"annotations": {"a": "b"}}})
    old = {"resourceVersion": made["metadata"]["resourceVersion"]}
    with pytest.raises(ConflictError):
        await cluster.patch(CHECKPOINTS, "one", {"metadata": old, "status": {"message": "y"}}, subresource="status")
