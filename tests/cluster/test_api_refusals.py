"""What the server refuses outright: options, envelopes, applied configurations."""

import pytest

from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.cluster import Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, DEPLOYMENTS, GRAPHS, LEASES

pytestmark = pytest.mark.cluster

APPLY = "application/apply-patch+yaml"


def config_map(**metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"} | metadata}


@pytest.mark.parametrize(
    ("method", "body", "query", "message"),
    [
        ("POST", config_map(), {"dryRun": "Some"}, 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: '),
        (
            "POST",
            config_map(),
            {"fieldValidation": "Maybe"},
            'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported',
        ),
        (
            "DELETE",
            {"propagationPolicy": "X"},
            {},
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "X"',
        ),
        ("DELETE", {"dryRun": ["Some"]}, {}, 'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: '),
        ("DELETE", None, {"dryRun": "Some"}, 'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: '),
        ("DELETE", {"propagationPolicy": "Orphan", "orphanDependents": True}, {}, "cannot be both set"),
        ("GET", None, {"resourceVersionMatch": "Exact"}, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
    ],
)
async def test_options_that_do_not_exist_are_invalid(api, cluster, namespace, method, body, query, message):
    if method == "DELETE":
        await cluster.create(CONFIG_MAPS, config_map())
    path = CONFIG_MAPS.path(namespace, "one" if method == "DELETE" else "")
    status, answer = await api(method, path, body, **query)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert message in answer["message"]
    assert "name" not in answer["details"]


async def test_a_version_is_a_number(api, namespace):
    status, answer = await api("GET", CONFIG_MAPS.path(namespace), resourceVersion="x")
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert answer["message"].startswith('invalid resource version: resourceVersion: Invalid value: "x"')


async def test_a_new_object_has_no_version(api, namespace):
    status, answer = await api("POST", CONFIG_MAPS.path(namespace), config_map(resourceVersion="7"))
    assert (status, answer["message"]) == (500, "resourceVersion should not be set on objects to be created")
    assert "reason" not in answer


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("kind", r"must be of type DynamoCheckpoint\): Object 'Kind' is missing"),
        ("apiVersion", r"the API version in the data \(\) does not match the expected API version \(nvidia.com/v1alpha1\)"),
    ],
)
async def test_a_custom_resource_says_what_it_is(cluster, checkpoint_body, key, message):
    del checkpoint_body[key]
    with pytest.raises(UsageError, match=message):
        await cluster.create(CHECKPOINTS, checkpoint_body)


async def test_a_custom_resource_of_another_kind_is_refused(cluster, checkpoint_body):
    with pytest.raises(
        UsageError, match=r'Other.nvidia.com "one" is invalid: kind: Invalid value: "Other": must be DynamoCheckpoint'
    ):
        await cluster.create(CHECKPOINTS, checkpoint_body | {"kind": "Other"})
    with pytest.raises(UsageError, match=r"the API version in the data \(nvidia.com/v7\) does not match the expected API version"):
        await cluster.create(CHECKPOINTS, checkpoint_body | {"apiVersion": "nvidia.com/v7"})


async def test_a_replacement_names_its_object(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, config_map())
    status, answer = await api("PUT", CONFIG_MAPS.path(namespace, "one"), {"metadata": {}})
    assert status == 400
    assert answer["message"] == "the name of the object (one based on URL) was undeterminable: name must be provided"


async def test_version_zero_is_none(cluster, checkpoint_body):
    await cluster.create(CHECKPOINTS, checkpoint_body)
    checkpoint_body["metadata"]["resourceVersion"] = "0"
    with pytest.raises(UsageError, match=r'dynamocheckpoints.nvidia.com "one" is invalid: metadata.resourceVersion: Invalid value'):
        await cluster.replace(CHECKPOINTS, checkpoint_body)


async def test_a_null_is_as_good_as_nothing(cluster, checkpoint_body):
    checkpoint_body["spec"]["identity"] |= {"dtype": None, "tensorParallelSize": None}
    identity = (await cluster.create(CHECKPOINTS, checkpoint_body))["spec"]["identity"]
    assert identity == {"model": "m", "backendFramework": "vllm", "tensorParallelSize": 1, "pipelineParallelSize": 1}


async def test_rules_wait_until_the_shape_is_right(api, namespace, checkpoint_body):
    del checkpoint_body["spec"]["job"]
    checkpoint_body["spec"]["identity"]["tensorParallelSize"] = "two"
    status, answer = await api("POST", CHECKPOINTS.path(namespace), checkpoint_body)
    causes = {cause["field"]: cause["reason"] for cause in answer["details"]["causes"]}
    assert (status, causes) == (
        422,
        {
            "spec.job": "FieldValueRequired",
            "spec.identity.tensorParallelSize": "FieldValueTypeInvalid",
            "<nil>": "FieldValueInvalid",
        },
    )
    assert "some validation rules were not checked because the object was invalid" in answer["message"]


async def test_a_broken_rule_names_the_key_of_a_map(cluster):
    spec = {"services": {"Worker": {"checkpoint": {"enabled": True}}}}
    body = {"apiVersion": GRAPHS.api_version, "kind": GRAPHS.kind, "metadata": {"name": "one"}, "spec": spec}
    with pytest.raises(UsageError, match=r"spec.services\[Worker\].checkpoint: Invalid value"):
        await cluster.create(GRAPHS, body)


async def test_unknown_fields_are_refused_in_what_is_applied(api, namespace, checkpoint_body):
    checkpoint_body["spec"]["colour"] = "red"
    path = CHECKPOINTS.path(namespace, "one")
    status, answer = await api("PATCH", path, checkpoint_body, content_type=APPLY, fieldManager="me")
    about = "(/one; nvidia.com/v1alpha1, Kind=DynamoCheckpoint)"
    message = f"failed to create typed patch object {about}: .spec.colour: field not declared in schema"
    assert (status, answer["message"]) == (500, message)
    body = config_map() | {"colour": "red"}
    status, answer = await api("PATCH", CONFIG_MAPS.path(namespace, "one"), body, content_type=APPLY, fieldManager="me")
    message = "failed to create typed patch object (/one; /v1, Kind=ConfigMap): .colour: field not declared in schema"
    assert (status, answer["message"]) == (500, message)


async def test_the_status_of_nothing_cannot_be_applied(cluster, checkpoint_body):
    body = checkpoint_body | {"status": {"phase": "Ready"}}
    del body["spec"]
    with pytest.raises(NotFoundError, match=r'dynamocheckpoints.nvidia.com "one" not found'):
        await cluster.patch(CHECKPOINTS, "one", body, type="apply", subresource="status")


async def test_a_json_patch_that_fails_does_not_say_where(api, cluster, namespace):
    await cluster.create(CONFIG_MAPS, config_map())
    path, steps = CONFIG_MAPS.path(namespace, "one"), [{"op": "remove", "path": "/data/a"}]
    status, answer = await api("PATCH", path, steps, content_type="application/json-patch+json")
    assert (status, answer["message"]) == (422, "the server rejected our request due to an error in our request")


async def test_a_group_that_is_not_served_is_no_page(api, cluster):
    widgets = Resource("none.example.com/v1", "Widget", "widgets")
    assert await api("GET", widgets.path("default")) == (404, "404 page not found\n")
    with pytest.raises(NotFoundError):
        await cluster.list(widgets)


async def test_an_owner_is_named_in_full(cluster):
    with pytest.raises(UsageError, match=r"metadata.ownerReferences.uid: Invalid value: \"\": (uid )?must not be empty"):
        await cluster.create(CONFIG_MAPS, config_map(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p"}]))


async def test_a_lease_may_be_let_go(cluster):
    await cluster.create(LEASES, {"metadata": {"name": "one"}, "spec": {"holderIdentity": "me"}})
    assert (await cluster.patch(LEASES, "one", {"spec": {"holderIdentity": ""}}))["spec"] == {"holderIdentity": ""}


async def test_a_scale_cannot_be_negative(api, cluster, namespace):
    container = {"name": "main", "image": "example.invalid/x:1"}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"schedulerName": "nobody", "containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    await cluster.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
    path = DEPLOYMENTS.path(namespace, "d", "scale")
    status, answer = await api("PATCH", path, {"spec": {"replicas": -1}}, content_type="application/merge-patch+json")
    assert (status, answer["details"]["kind"], answer["details"]["group"]) == (422, "Scale", "autoscaling")
    assert "replicas" not in (await api("GET", path))[1]["spec"]
