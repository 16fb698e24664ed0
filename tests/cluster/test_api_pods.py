"""Pods and their templates: resources, volumes, mounts, and what a suspended Job may still change."""

import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster.resources import JOBS, PODS

pytestmark = pytest.mark.cluster

MAIN = {"name": "main", "image": "example.invalid/x:1"}
VOLUME = {"name": "v", "emptyDir": {}}


def pod(**spec):
    return {"metadata": {"name": "p"}, "spec": {"schedulerName": "nobody", "containers": [MAIN]} | spec}


def resources(limits=None, **requests):
    return {"containers": [MAIN | {"resources": {"limits": limits or {}, "requests": requests}}]}


@pytest.mark.parametrize(
    ("given", "stored"),
    [("0.5", "500m"), ("1000m", "1"), (2, "2"), ("1500", "1500"), ("0.0001", "1m"), ("5k", "5k"), ("2000", "2k")],
)
async def test_amounts_are_stored_in_their_shortest_form(cluster, given, stored):
    body = await cluster.create(PODS, pod(**resources(cpu=given)), dry_run=True)
    assert body["spec"]["containers"][0]["resources"]["requests"] == {"cpu": stored}


@pytest.mark.parametrize(
    ("given", "stored"),
    [("1.5Gi", "1536Mi"), ("1024Mi", "1Gi"), ("0.5Ki", "512"), ("1000Mi", "1000Mi"), ("1536", "1536"), ("2e3", "2e3"), ("0", "0")],
)
async def test_bytes_are_stored_in_their_shortest_form(cluster, given, stored):
    body = await cluster.create(PODS, pod(**resources(memory=given)), dry_run=True)
    assert body["spec"]["containers"][0]["resources"]["requests"] == {"memory": stored}


GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (resources({"cpu": 1}, cpu=2), r"resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"),
        (resources({GPU: 2}, **{GPU: 1}), r"resources.requests: Invalid value: \"1\": must be equal to nvidia.com/gpu limit of 2"),
        (resources(**{GPU: 1}), r"resources.limits: Required value: Limit must be set for non overcommitable resources"),
        (resources({GPU: "0.5"}), r"resources.limits\[nvidia.com/gpu\]: Invalid value: .*: must be an integer"),
        (resources({"gpu": 1}), r"resources.limits\[gpu\]: Invalid value: \"?gpu\"?: must be a standard resource type or fully"),
        (resources({"cpu": "-1"}), r"resources.limits\[cpu\]: Invalid value: \"-1\": must be greater than or equal to 0"),
        (
            {"volumes": [VOLUME | {"hostPath": {"path": "/x"}}]},
            r"spec.volumes\[0\].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            {"volumes": [VOLUME], "containers": [MAIN | {"volumeMounts": [{"name": "v", "mountPath": "/v"}] * 2}]},
            r"volumeMounts\[1\].mountPath: Invalid value: \"/v\": must be unique",
        ),
        ({"containers": [MAIN | {"readinessProbe": {"exec": {}}}]}, r"readinessProbe.exec.command: Required value"),
        ({"containers": [MAIN | {"ports": [{"containerPort": 0}]}]}, r"ports\[0\].containerPort: Required value"),
        (
            {"containers": [MAIN | {"env": [{"name": "A=B"}]}]},
            r"env\[0\].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII",
        ),
    ],
)
async def test_a_pod_that_makes_no_sense_is_refused(cluster, spec, message):
    with pytest.raises(UsageError, match=message):
        await cluster.create(PODS, pod(**spec))


async def test_what_is_left_out_deep_down_is_filled_in(cluster):
    env = [{"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]
    items = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
    sources = [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": items}}]
    volumes = [{"name": "p", "projected": {"sources": sources}}, {"name": "d", "downwardAPI": {"items": items}}]
    container = MAIN | {"env": env, "ports": [{"containerPort": 80}]}
    spec = (await cluster.create(PODS, pod(containers=[container], volumes=volumes, hostNetwork=True), dry_run=True))["spec"]
    reference = {"path": "name", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    assert spec["containers"][0]["env"][0]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert spec["volumes"][0]["projected"]["sources"][1]["downwardAPI"]["items"] == [reference]
    assert spec["volumes"][1]["downwardAPI"]["items"] == [reference]


async def test_a_pod_that_tolerates_everything_gets_no_more_tolerations(cluster):
    everything = [{"operator": "Exists"}]
    body = await cluster.create(PODS, pod(tolerations=everything), dry_run=True)
    assert body["spec"]["tolerations"] == everything
    some = await cluster.create(PODS, pod(tolerations=[{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]), dry_run=True)
    assert [item["key"] for item in some["spec"]["tolerations"]] == [
        "a",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]


@pytest.fixture
async def suspended(cluster):
    template = {"spec": {"schedulerName": "nobody", "restartPolicy": "Never", "containers": [MAIN]}}
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]
    spec = {"suspend": True, "template": template, "podFailurePolicy": {"rules": rules}}
    return await cluster.create(JOBS, {"metadata": {"name": "j"}, "spec": spec})


async def test_a_job_with_a_failure_policy_replaces_failed_pods_alone(suspended):
    assert suspended["spec"]["podReplacementPolicy"] == "Failed"


async def test_a_suspended_job_may_move_but_not_change_its_image(cluster, suspended):
    moved = {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    assert (await cluster.patch(JOBS, "j", moved))["spec"]["template"]["spec"]["nodeSelector"] == {"a": "b"}
    steps = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "y"}]
    with pytest.raises(UsageError, match=r"spec.template.*: Invalid value: .*field is immutable"):
        await cluster.patch(JOBS, "j", steps, type="json")
