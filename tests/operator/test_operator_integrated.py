"""Mode integrate: checkpoints from the platform's own pods, pods that wait for theirs, and what the platform's status lacks."""

from copy import deepcopy
from datetime import UTC, datetime

import pytest

from chrek_operator.actions import Create, Patch, Tell
from chrek_operator.admission.pods import with_shim
from chrek_operator.binding import Binding
from chrek_operator.capturing import source_template
from chrek_operator.graphs import plan_platform_status, plan_services, plan_warnings
from chrek_operator.injection import Injection, inject_source
from chrek_operator.integrated import is_held, release
from chrek_operator.services import Around
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
NOW = datetime(2026, 1, 29, tzinfo=UTC)
AUTO = {"enabled": True, "mode": "auto", "identity": IDENTITY}
WAITS = AUTO | {"startupPolicy": "WaitForCheckpoint"}
ARGS = ["python3 -m dynamo.vllm --model meta-llama/Llama-3-8B"]
INTEGRATE = Settings(mode="integrate")
TOKENS = {"name": "kube-api-access-x7k2p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
TOKEN_MOUNT = {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}


def graph(checkpoint=AUTO, **fields):
    main = {"image": "dynamo-vllm:latest", "args": ARGS}
    service = {"extraPodSpec": {"mainContainer": main}, "labels": {"team": "a"}, "checkpoint": checkpoint, **fields}
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "my-llm", "namespace": "ns", "uid": "graph-uid", "generation": 1, "resourceVersion": "1"},
        "spec": {"services": {"VllmWorker": service}},
    }


def pod(name="w-1", *, gates=(), created="2026-01-29T10:00:00Z", component="VllmWorker", **container):
    """What the platform makes of the service: a wrapper, variables, mounts, probes and labels that the graph does not have."""
    worker = {
        "name": "main",
        "image": "dynamo-vllm:latest",
        "command": ["/bin/sh", "-c"],
        "args": ARGS,
        "env": [{"name": "DYN_NAMESPACE", "value": "ns-my-llm"}, {"name": "VLLM_PORT", "value": "5000"}],
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "model-cache", "mountPath": "/cache"}, TOKEN_MOUNT],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 9090}},
        "livenessProbe": {"httpGet": {"path": "/live", "port": 9090}},
        **container,
    }
    spec = {
        "nodeName": "node-a",
        "hostname": "w-1",
        "priority": 7,
        "priorityClassName": "high",
        "serviceAccountName": "dynamo",
        "containers": [worker],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "model-cache", "emptyDir": {}}, TOKENS],
        "schedulingGates": [{"name": gate} for gate in gates],
    }
    if gates:
        spec.pop("nodeName")
    labels = {names.LABEL_GRAPH: "my-llm", names.LABEL_COMPONENT: component, "app": "w", "kueue.x-k8s.io/queue-name": "q"}
    annotations = {"nvidia.com/dyn-component": "VllmWorker", "cni/status": "up", names.ANNOTATION_UNTOUCHED: "once"}
    metadata = {"name": name, "resourceVersion": "7", "creationTimestamp": created, "labels": labels, "annotations": annotations}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}
    return {"metadata": metadata | {"ownerReferences": [owner]}, "spec": spec}


def checkpoint(phase="Creating", *, name=HASH, worker=None):
    template = {"spec": {"containers": [worker or {"name": "main", "image": "i", "command": ["serve"]}]}}
    status = {"phase": phase} | ({"artifact": {"generation": "1"}} if phase == "Ready" else {})
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoCheckpoint",
        "metadata": {"name": name, "uid": name},
        "spec": {"identity": IDENTITY, "job": {"podTemplateSpec": template}},
        "status": status,
    }


def play(body, *pods, checkpoints=()):
    """One reconcile: its only service's plan."""
    (plan,) = plan_services(body, Around(tuple(checkpoints), (), tuple(pods)), INTEGRATE)
    return plan


def created(plan):
    return [action.body for action in plan.actions if isinstance(action, Create) and action.resource is CHECKPOINTS]


def lifted(plan):
    return {action.name: action.patch for action in plan.actions if isinstance(action, Patch) and action.resource is PODS}


def told(body, plan):
    return [action.message for action in plan_warnings(body, [plan]).actions if isinstance(action, Tell)]


def test_nothing_is_created_before_there_is_a_pod_to_make_it_from():
    body = graph()
    plan = play(body)
    assert plan.actions == []
    assert plan.needs_pod
    assert told(body, plan) == []


def test_the_checkpoint_is_made_from_the_platforms_pod():
    (made,) = created(play(graph(), pod()))
    assert made["metadata"]["name"] == HASH
    assert made["spec"]["identity"] == IDENTITY | {"pipelineParallelSize": 1}
    assert made["spec"]["job"]["podTemplateSpec"] == {
        "metadata": {
            "labels": {"team": "a", "kueue.x-k8s.io/queue-name": "q"},
            "annotations": {"nvidia.com/dyn-component": "VllmWorker"},
        },
        "spec": {
            "priorityClassName": "high",
            "serviceAccountName": "dynamo",
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "main",
                    "image": "dynamo-vllm:latest",
                    "command": ["/bin/sh", "-c"],
                    "args": ARGS,
                    "env": [{"name": "DYN_NAMESPACE", "value": "ns-my-llm"}, {"name": "VLLM_PORT", "value": "5000"}],
                    "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "model-cache", "mountPath": "/cache"}],
                    "livenessProbe": {"httpGet": {"path": "/live", "port": 9090}},
                }
            ],
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "model-cache", "emptyDir": {}}],
        },
    }


@pytest.mark.parametrize("first", ["before the checkpoint", "with the shim"])
def test_source_and_target_agree_by_construction(first):
    target = with_shim(pod(), Binding(HASH, HASH, None), INTEGRATE)
    template = source_template(graph(), "VllmWorker", [pod() if first == "before the checkpoint" else target])
    source = inject_source(template, Injection(HASH, HASH, "pvc", "/checkpoints"))
    (worker,), (other,) = source["spec"]["containers"], target["spec"]["containers"]
    env, other_env = ({e["name"]: e.get("value") for e in each["env"]} for each in (worker, other))
    assert env.pop(names.ENV_SIGNAL_FILE)
    assert env.pop(names.ENV_SNAPSHOT_DIR) == names.CONTROL_DIR
    assert worker["command"] == other["command"]
    assert env == other_env
    mounts, other_mounts = ({m["mountPath"] for m in each["volumeMounts"]} for each in (worker, other))
    assert mounts == other_mounts - {TOKEN_MOUNT["mountPath"]}
    assert worker["readinessProbe"]["exec"]["command"] == ["cat", names.READY_FILE]


def test_a_readiness_probe_of_the_users_own_is_kept():
    own = {"httpGet": {"path": "/mine", "port": 1}}
    template = source_template(graph(readinessProbe=own), "VllmWorker", [pod(readinessProbe=own)])
    assert template["spec"]["containers"][0]["readinessProbe"] == own


@pytest.mark.parametrize(
    "other",
    [
        {"image": "dynamo-vllm:old"},
        {"image": "another:latest"},
        {"args": ["python3 -m dynamo.vllm --model other"]},
        {"env": [{"name": "MODE", "value": "old"}]},
    ],
)
def test_a_pod_of_an_older_graph_is_not_captured(other):
    body = graph(envs=[{"name": "MODE", "value": "new"}])
    old, new = pod("old", **other), pod("new", env=[{"name": "MODE", "value": "new"}], created="2026-01-28T10:00:00Z")
    plan = play(body, old)
    assert created(plan) == []
    (event,) = plan_warnings(body, [plan]).actions
    assert "made from the first that has" in event.message
    assert not event.warning
    assert len(created(play(body, old, new))) == 1


@pytest.mark.parametrize("image", ["mirror.example/nvidia/dynamo-vllm:latest", "dynamo-vllm@sha256:aa", "dynamo-vllm"])
def test_an_image_may_have_been_resolved_on_its_way(image):
    assert len(created(play(graph(), pod(image=image)))) == 1


def test_a_worker_of_several_pods_is_not_captured():
    body = graph(WAITS, multinode={"nodeCount": 2})
    plan = play(body, pod(gates=[names.SCHEDULING_GATE]))
    assert created(plan) == []
    assert "VllmWorker.multinode: a worker of 2 pods cannot be captured" in told(body, plan)[0]
    assert set(lifted(plan)) == {"w-1"}


def test_pods_of_others_are_not_looked_at():
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-29T10:00:00Z"
    assert created(play(graph(), leaving, pod(component="Frontend"))) == []
    assert len(created(play(graph(), pod(component="vllmworker")))) == 1


def test_a_worker_that_cannot_be_wrapped_is_told_and_not_held():
    body = graph(WAITS, extraPodSpec={"mainContainer": {"image": "dynamo-vllm:latest"}})
    held = pod(command=None, args=None, gates=[names.SCHEDULING_GATE])
    plan = play(body, held)
    assert created(plan) == []
    assert "the image's own entrypoint cannot be wrapped" in told(body, plan)[0]
    assert set(lifted(plan)) == {"w-1"}


@pytest.mark.parametrize(
    ("block", "found", "waits"),
    [
        (WAITS, (), True),
        (WAITS, (checkpoint("Creating"),), True),
        (WAITS, (checkpoint("Ready"),), False),
        (WAITS, (checkpoint("Failed"),), False),
        (AUTO, (checkpoint("Creating"),), False),
        (WAITS | {"mode": "manual"}, (), False),
        ({"enabled": False}, (), False),
        ({"enabled": True, "checkpointRef": "later", "startupPolicy": "WaitForCheckpoint"}, (), True),
        ({"enabled": True, "mode": "sometimes"}, (), False),
    ],
)
def test_who_waits_and_for_how_long(block, found, waits):
    plan = play(graph(block), pod(gates=["theirs", names.SCHEDULING_GATE]), checkpoints=found)
    patch = {"metadata": {"resourceVersion": "7"}, "spec": {"schedulingGates": [{"name": "theirs"}]}}
    assert lifted(plan) == ({} if waits else {"w-1": patch})


def test_a_pod_that_is_of_no_use_for_the_capture_does_not_wait_for_it():
    plan = play(graph(WAITS), pod(image="another:1", gates=[names.SCHEDULING_GATE]))
    assert lifted(plan)["w-1"]["spec"] == {"schedulingGates": None}


def test_pods_are_freed_of_our_gate_alone():
    assert [action.name for action in release([pod("a"), pod("b", gates=["theirs"])]).actions] == []


@pytest.mark.parametrize(("node", "held"), [("", True), ("node-a", False)])
def test_the_webhook_holds_a_pod_that_no_scheduler_has_placed(node, held):
    asking = pod(gates=["theirs"])
    asking["spec"] |= {"nodeName": node} if node else {}
    before = deepcopy(asking)
    made = with_shim(asking, Binding(HASH, HASH, None), INTEGRATE, waits=True)
    assert is_held(made) is held
    assert {"name": "theirs"} in made["spec"]["schedulingGates"]
    assert asking == before


def test_the_shim_comes_before_the_checkpoint_and_not_after_its_failure():
    made = with_shim(pod(), Binding(HASH, HASH, None), INTEGRATE)
    assert made["metadata"]["labels"][names.LABEL_HASH] == HASH
    failed = read_checkpoint(checkpoint("Failed"))
    with pytest.raises(UsageError, match="is Failed"):
        with_shim(pod(), Binding(HASH, HASH, failed), INTEGRATE, waits=True)


OURS = {"checkpointName": HASH, "identityHash": HASH, "ready": True}


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        ({}, {"VllmWorker": OURS}),
        ({"Other": {"x": 1}}, {"Other": {"x": 1}, "VllmWorker": OURS}),
        ({"VllmWorker": OURS | {"ready": False}}, {"VllmWorker": OURS}),
        ({"VllmWorker": {"checkpointName": "a", "identityHash": "b"}}, {"VllmWorker": OURS}),
        ({"VllmWorker": {"checkpointName": "the-platforms", "identityHash": HASH}}, None),
        ({"VllmWorker": OURS}, None),
    ],
)
def test_the_platforms_status_gets_what_it_lacks_and_nothing_else(present, wanted):
    body = graph() | {"status": {"state": "successful", "checkpoints": present}}
    actions = plan_platform_status(body, [play(body, checkpoints=[checkpoint("Ready")])], NOW).actions
    if wanted is None:
        assert actions == ()
        return
    (patch,) = actions
    assert set(patch.patch["status"]) == {"checkpoints"}
    assert patch.subresource == "status"
    body["status"]["checkpoints"] = wanted
    assert plan_platform_status(body, [play(body, checkpoints=[checkpoint("Ready")])], NOW).actions == ()
