"""Services that wait for their checkpoint, and claims that a graph asks for."""

from copy import deepcopy

import pytest

from chrek_operator.actions import Create, Patch, Provide, Replace
from chrek_operator.graphs import plan_services
from chrek_operator.services import Around
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.cluster.resources import CHECKPOINTS, CLAIMS, DEPLOYMENTS

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
WAIT = {"enabled": True, "startupPolicy": "WaitForCheckpoint", "identity": IDENTITY}


def graph(block=None, **fields):
    main = {"image": "i", "args": ["python3 -m dynamo.vllm"]}
    service = {"replicas": 1, "extraPodSpec": {"mainContainer": main}, "checkpoint": block or WAIT}
    spec = {"services": {"W": service | fields.pop("service", {})}, **fields}
    metadata = {"name": "g", "namespace": "ns", "uid": "graph", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": metadata, "spec": spec}


def checkpoint(phase, identity=None):
    status = {"phase": phase} | ({"artifact": {"generation": "1"}} if phase == "Ready" else {})
    identity = identity or IDENTITY
    template = {"spec": {"containers": [{"name": "main", "image": "i", "command": ["c"]}]}}
    return {
        "metadata": {"name": HASH, "uid": "c", "creationTimestamp": "2026-01-29T10:00:00Z"},
        "spec": {"identity": identity, "job": {"podTemplateSpec": template}},
        "status": status,
    }


def play(body, *checkpoints, deployment=None):
    around = Around(checkpoints, (deployment,) if deployment else ())
    (plan,) = plan_services(body, around, Settings())
    return plan


def deployments(plan):
    return [action.body for action in plan.actions if isinstance(action, Create | Replace) and action.resource is DEPLOYMENTS]


def present(body):
    metadata = body["metadata"] | {"resourceVersion": "5", "uid": "d"}
    return deepcopy(body | {"metadata": metadata, "spec": {"replicas": 1, **body["spec"]}})


@pytest.mark.parametrize("phase", [None, "Pending", "Creating"])
def test_a_service_that_waits_has_no_pods_yet(phase):
    plan = play(graph(), *([checkpoint(phase)] if phase else []))
    assert deployments(plan) == []
    assert plan.note.startswith(f"service W waits for DynamoCheckpoint {HASH}, which is ")
    assert any(isinstance(action, Create) and action.resource is CHECKPOINTS for action in plan.actions) is (phase is None)


@pytest.mark.parametrize("phase", ["Ready", "Failed"])
def test_it_waits_no_longer_than_there_is_hope(phase):
    assert len(deployments(play(graph(), checkpoint(phase)))) == 1


def test_nobody_waits_for_what_nobody_makes():
    assert len(deployments(play(graph(WAIT | {"mode": "manual"})))) == 1


def test_without_the_policy_pods_start_cold_at_once():
    block = {"enabled": True, "identity": IDENTITY}
    assert len(deployments(play(graph(block), checkpoint("Creating")))) == 1


def test_nothing_rolls_when_a_checkpoint_becomes_ready():
    block = {"enabled": True, "identity": IDENTITY}
    (made,) = deployments(play(graph(block), checkpoint("Creating")))
    assert deployments(play(graph(block), checkpoint("Ready"), deployment=present(made))) == []


def test_with_a_changed_identity_the_old_pods_serve_until_the_new_checkpoint_is_ready():
    (old,) = deployments(play(graph(), checkpoint("Ready")))
    changed = graph(WAIT | {"identity": IDENTITY | {"maxModelLen": 8192}}, service={"replicas": 3})
    plan = play(changed, checkpoint("Ready"), deployment=present(old))
    assert deployments(plan) == []
    assert [action.body["metadata"]["name"] for action in plan.actions if isinstance(action, Create)] != [HASH]
    scaled = [action.patch for action in plan.actions if isinstance(action, Patch)]
    assert scaled == [{"metadata": {"resourceVersion": "5"}, "spec": {"replicas": 3}}]
    new = checkpoint("Ready", IDENTITY | {"maxModelLen": 8192})
    new["metadata"]["name"] = "new"
    (rolled,) = deployments(play(changed, checkpoint("Ready"), new, deployment=present(old)))
    assert rolled["spec"]["template"]["metadata"]["labels"][names.LABEL_NAME] == "new"


def test_other_changes_roll_while_the_service_has_its_checkpoint():
    (old,) = deployments(play(graph(), checkpoint("Ready")))
    changed = graph(service={"envs": [{"name": "A", "value": "1"}]})
    assert len(deployments(play(changed, checkpoint("Creating"), deployment=present(old)))) == 1


def test_an_unknown_policy_is_told():
    plan = play(graph(WAIT | {"startupPolicy": "Never"}))
    assert "startupPolicy: unknown policy 'Never' (one of Immediate, WaitForCheckpoint)" in plan.error


def test_claims_that_a_service_mounts_are_made_and_belong_to_nobody():
    claims = [
        {"name": "cache", "create": True, "size": "10Gi", "storageClass": "fast", "volumeAccessMode": "ReadWriteOnce"},
        {"name": "there", "create": False},
        {"name": "elsewhere", "create": True, "size": "1Gi"},
    ]
    mounts = [{"name": name, "mountPoint": f"/{name}"} for name in ("cache", "there")]
    plan = play(graph(pvcs=claims, service={"volumeMounts": mounts}), checkpoint("Ready"))
    (made,) = [action.body for action in plan.actions if isinstance(action, Provide) and action.resource is CLAIMS]
    assert made["metadata"]["name"] == "cache"
    assert "ownerReferences" not in made["metadata"]
    assert made["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "10Gi"}},
        "storageClassName": "fast",
    }


def test_a_claim_without_a_size_is_told():
    mounts = [{"name": "cache", "mountPoint": "/cache"}]
    plan = play(graph(pvcs=[{"name": "cache", "create": True}], service={"volumeMounts": mounts}), checkpoint("Ready"))
    assert plan.error == "spec.pvcs: claim cache is to be created and has no size (set its size, such as 100Gi)"
