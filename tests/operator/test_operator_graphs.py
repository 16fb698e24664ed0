"""A graph's services as Deployments, their checkpoints, and the graph's status."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from chrek_operator.actions import Create, Delete, Ensure, Replace, Tell
from chrek_operator.graphs import plan_removals, plan_services, plan_status, plan_warnings
from chrek_operator.services import Around
from chrek_operator.settings import Settings
from chrek_operator.wanted import Wanted, wanted_checkpoints
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
NOW = datetime(2026, 1, 29, tzinfo=UTC)
AUTO = {"enabled": True, "mode": "auto", "identity": IDENTITY}


def service(checkpoint=None, *, args=("python3 -m dynamo.vllm --model meta-llama/Llama-3-8B",), **fields):
    main = {"image": "dynamo-vllm:latest"} | ({"args": list(args)} if args else {})
    found = {
        "replicas": 1,
        "extraPodSpec": {"mainContainer": main},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        **fields,
    }
    return found | ({"checkpoint": checkpoint} if checkpoint else {})


def graph(**services):
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "my-llm", "namespace": "ns", "uid": "graph-uid", "generation": 1, "resourceVersion": "1"},
        "spec": {"services": services},
    }


def checkpoint(
    name=HASH, *, phase="Creating", command=("python3", "-m", "dynamo.vllm"), created="2026-01-29T10:00:00Z", **metadata
):
    template = {"spec": {"containers": [{"name": "main", "image": "i", "command": list(command), "args": ["--model", "x"]}]}}
    status = {"phase": phase} | ({"artifact": {"generation": "1"}} if phase == "Ready" else {})
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoCheckpoint",
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, **metadata},
        "spec": {"identity": IDENTITY, "job": {"podTemplateSpec": template}},
        "status": status,
    }


def play(body, *checkpoints, deployments=(), settings=None):
    """One reconcile: its plans, and what of each kind they would make."""
    around = Around(tuple(checkpoints), tuple(deployments))
    plans = plan_services(body, around, settings or Settings())
    actions = [action for plan in plans for action in plan.actions]
    patches = plan_status(body, around, plans, NOW).actions
    return SimpleNamespace(
        plans=plans,
        actions=actions,
        deployments=[a.body for a in actions if isinstance(a, Create | Replace) and a.resource is DEPLOYMENTS],
        checkpoints=[a.body for a in actions if isinstance(a, Create) and a.resource is CHECKPOINTS],
        warnings=[action for action in plan_warnings(body, plans).actions if isinstance(action, Tell)],
        status=patches[0].patch["status"] if patches else {},
        removals=[action.name for action in plan_removals(body, around, plans).actions if isinstance(action, Delete)],
    )


def present(body, **status):
    """A Deployment as it would be read back."""
    spec = {"replicas": 1, **body["spec"]}
    metadata = body["metadata"] | {"resourceVersion": "5", "uid": "d", "generation": 1}
    return body | {"metadata": metadata, "spec": spec, "status": {"observedGeneration": 1, **status}}


def condition(status, kind):
    return next((c["status"], c["reason"]) for c in status["conditions"] if c["type"] == kind)


def test_auto_mode_creates_the_checkpoint_named_by_its_hash_and_owned_by_nobody():
    found = play(graph(VllmWorker=service(AUTO)))
    (created,) = found.checkpoints
    assert created["metadata"] == {
        "name": HASH,
        "labels": {
            "nvidia.com/dynamo-graph-deployment-name": "my-llm",
            "nvidia.com/dynamo-component": "VllmWorker",
            "nvidia.com/checkpoint-hash": HASH,
        },
    }
    template = created["spec"]["job"]["podTemplateSpec"]
    assert template["spec"]["restartPolicy"] == "Never"
    assert template["spec"]["containers"][0]["command"] == ["/bin/sh", "-c"]
    assert "nvidia.com/dynamo-graph-deployment-name" not in template["metadata"]["labels"]
    told = [action for action in found.actions if isinstance(action, Tell)]
    assert [(action.reason, action.warning) for action in told] == [("CheckpointCreated", False)]


def test_both_spellings_of_an_identity_are_one_and_two_that_differ_are_told():
    other = {"framework": "vllm"} | {key: value for key, value in IDENTITY.items() if key != "backendFramework"}
    both = IDENTITY | {"framework": "vllm"}
    for identity in (other, both):
        (created,) = play(graph(W=service(AUTO | {"identity": identity}))).checkpoints
        assert created["metadata"]["name"] == HASH
        assert "framework" not in created["spec"]["identity"]
    found = play(graph(W=service(AUTO | {"identity": both | {"framework": "sglang"}})))
    assert found.checkpoints == []
    assert "differs from backendFramework" in found.warnings[0].message
    assert len(found.deployments) == 1


def test_the_deployment_of_a_service():
    found = play(graph(VllmWorker=service(AUTO, replicas=2, labels={"team": "a"})))
    (deployment,) = found.deployments
    selector = {"nvidia.com/dynamo-graph-deployment-name": "my-llm", "nvidia.com/dynamo-component": "VllmWorker"}
    assert deployment["metadata"]["name"] == "my-llm-vllmworker"
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == "graph-uid"
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["selector"] == {"matchLabels": selector}
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "team": "a",
        **selector,
        "nvidia.com/checkpoint-name": HASH,
        "nvidia.com/checkpoint-hash": HASH,
        "nvidia.com/chrek-restore-target": "true",
    }
    (worker,) = template["spec"]["containers"]
    shell = ["/bin/sh", "-c", "python3 -m dynamo.vllm --model meta-llama/Llama-3-8B"]
    assert worker["command"] == ["python3", "/chrek/chrek_worker.pyz", "--", *shell]
    assert worker["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert [type(action) for action in found.actions if isinstance(action, Ensure)] == [Ensure]


def test_nothing_rolls_out_when_the_checkpoint_becomes_ready():
    body = graph(VllmWorker=service(AUTO))
    deployment = present(play(body).deployments[0])
    for phase in ("Pending", "Creating", "Ready", "Failed"):
        assert play(body, checkpoint(phase=phase), deployments=[deployment]).deployments == []


def test_fields_the_server_fills_in_are_no_change_but_ours_are():
    body = graph(VllmWorker=service(AUTO))
    deployment = present(play(body).deployments[0])
    deployment["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    assert play(body, checkpoint(), deployments=[deployment]).deployments == []
    body["spec"]["services"]["VllmWorker"]["replicas"] = 3
    (changed,) = play(body, checkpoint(), deployments=[deployment]).deployments
    assert changed["spec"]["replicas"] == 3
    assert changed["metadata"]["resourceVersion"] == "5"


def test_a_scaler_keeps_its_replicas_where_the_service_names_none():
    body = graph(VllmWorker=service(AUTO, replicas=None))
    deployment = present(play(body).deployments[0])
    deployment["spec"]["replicas"] = 7
    body["spec"]["services"]["VllmWorker"]["labels"] = {"new": "label"}
    (changed,) = play(body, checkpoint(), deployments=[deployment]).deployments
    assert changed["spec"]["replicas"] == 7


def test_an_existing_checkpoint_is_shared_by_its_hash_whatever_its_name():
    found = play(graph(VllmWorker=service(AUTO)), checkpoint("by-hand", phase="Ready"))
    assert found.checkpoints == []
    labels = found.deployments[0]["spec"]["template"]["metadata"]["labels"]
    assert (labels["nvidia.com/checkpoint-name"], labels["nvidia.com/checkpoint-hash"]) == ("by-hand", HASH)
    assert found.status["checkpoints"] == {"VllmWorker": {"checkpointName": "by-hand", "identityHash": HASH, "ready": True}}


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([checkpoint("old", created="2026-01-01T00:00:00Z"), checkpoint(HASH)], HASH),
        ([checkpoint("new", created="2026-01-02T00:00:00Z"), checkpoint("old", created="2026-01-01T00:00:00Z")], "old"),
        ([checkpoint(HASH, phase="Failed"), checkpoint("good", phase="Ready")], "good"),
        ([checkpoint("going", deletionTimestamp="2026-01-29T10:00:00Z"), checkpoint("stays")], "stays"),
    ],
)
def test_of_several_the_one_named_by_its_hash_then_the_oldest(others, chosen):
    found = play(graph(VllmWorker=service(AUTO)), *others)
    assert found.plans[0].binding.name == chosen


def test_a_binding_that_still_holds_is_kept():
    body = graph(VllmWorker=service(AUTO))
    deployment = present(play(body, checkpoint("by-hand")).deployments[0])
    assert play(body, checkpoint("by-hand"), checkpoint(HASH), deployments=[deployment]).deployments == []


def test_two_services_of_one_identity_want_one_checkpoint():
    found = play(graph(A=service(AUTO), B=service(AUTO)))
    assert {created["metadata"]["name"] for created in found.checkpoints} == {HASH}


def test_manual_mode_creates_nothing_but_later_captures_will_be_used():
    found = play(graph(VllmWorker=service(AUTO | {"mode": "manual"})))
    assert found.checkpoints == []
    labels = found.deployments[0]["spec"]["template"]["metadata"]["labels"]
    assert (labels["nvidia.com/checkpoint-name"], labels["nvidia.com/checkpoint-hash"]) == (HASH, HASH)
    assert found.warnings == []


REF = {"enabled": True, "checkpointRef": "e5962d34ba272638"}


def test_a_reference_may_be_the_hash_of_a_checkpoint_with_another_name():
    body = graph(VllmWorker=service({"enabled": True, "checkpointRef": HASH}))
    (deployment,) = play(body, checkpoint("by-name", phase="Ready")).deployments
    assert deployment["spec"]["template"]["metadata"]["labels"]["nvidia.com/checkpoint-name"] == "by-name"
    # One that vanishes, or another that comes, rolls out nothing.
    for others in ([], [checkpoint("by-name"), checkpoint(HASH)]):
        assert play(body, *others, deployments=[present(deployment)]).deployments == []


@pytest.mark.parametrize("reference", ["other/name", "../../other/dynamocheckpoints/name", "Name", "name?watch=1"])
def test_a_reference_to_another_namespace_is_told_and_the_pods_start(reference):
    body = graph(VllmWorker=service({"enabled": True, "checkpointRef": reference}))
    found = play(body)
    assert f"{reference!r} cannot be the name of a DynamoCheckpoint" in found.warnings[0].message
    assert len(found.deployments) == 1
    assert wanted_checkpoints(body) == Wanted()


def test_a_reference_means_the_name_and_its_command_serves_a_service_without_one():
    found = play(graph(VllmWorker=service(REF, args=())), checkpoint("e5962d34ba272638"))
    (deployment,) = found.deployments
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert (labels["nvidia.com/checkpoint-name"], labels["nvidia.com/checkpoint-hash"]) == ("e5962d34ba272638", HASH)
    command = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[3:] == ["python3", "-m", "dynamo.vllm", "--model", "x"]


def test_a_missing_reference_warns_starts_cold_and_rolls_nothing_when_it_comes():
    body = graph(VllmWorker=service(REF))
    found = play(body)
    (deployment,) = found.deployments
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["nvidia.com/checkpoint-name"] == "e5962d34ba272638"
    assert "nvidia.com/checkpoint-hash" not in labels
    assert [(tell.reason, tell.warning) for tell in found.warnings] == [("CheckpointNotFound", True)]
    assert condition(found.status, "CheckpointsFound") == ("False", "CheckpointNotFound")
    later = play(body, checkpoint("e5962d34ba272638", phase="Ready"), deployments=[present(deployment, readyReplicas=1)])
    assert later.deployments == []
    assert later.status["state"] == "successful"
    assert later.status["checkpoints"]["VllmWorker"]["ready"] is True
    assert condition(later.status, "CheckpointsFound")[0] == "True"


def test_a_reference_that_vanishes_rolls_nothing():
    body = graph(VllmWorker=service(REF))
    deployment = present(play(body, checkpoint("e5962d34ba272638")).deployments[0])
    assert play(body, deployments=[deployment]).deployments == []


def test_without_a_command_and_a_checkpoint_the_image_starts_as_it_is():
    found = play(graph(VllmWorker=service(REF, args=())))
    template = found.deployments[0]["spec"]["template"]
    assert "command" not in template["spec"]["containers"][0]
    assert "nvidia.com/chrek-restore-target" not in template["metadata"]["labels"]
    assert [tell.reason for tell in found.warnings] == ["CheckpointNotFound"]


def test_an_invalid_block_fails_its_service_and_the_others_go_on():
    bad = {"enabled": True, "identity": {"model": "m", "backendFramework": "tgi"}}
    found = play(graph(Bad=service(bad), Frontend=service()))
    assert [tell.reason for tell in found.warnings] == ["InvalidCheckpoint"]
    assert "unknown framework 'tgi'" in found.warnings[0].message
    assert found.status["state"] == "failed"
    assert condition(found.status, "Ready") == ("False", "ServiceFailed")
    cold, frontend = found.deployments
    assert frontend["metadata"]["name"] == "my-llm-frontend"
    assert "nvidia.com/chrek-restore-target" not in cold["spec"]["template"]["metadata"]["labels"]


def test_a_slip_of_the_pen_does_not_roll_out_workers_that_can_restore():
    body = graph(VllmWorker=service(AUTO))
    deployment = present(play(body, checkpoint()).deployments[0])
    body["spec"]["services"]["VllmWorker"]["checkpoint"] = {"enabled": True}
    assert play(body, checkpoint(), deployments=[deployment]).deployments == []


def test_a_reference_too_long_for_a_label_is_refused():
    found = play(graph(VllmWorker=service({"enabled": True, "checkpointRef": "x" * 64})))
    assert "64 characters, more than the 63 of a label" in found.warnings[0].message


def test_a_checkpoint_of_another_identity_under_the_hash_is_an_error():
    other = checkpoint()
    other["spec"]["identity"] = IDENTITY | {"dtype": "fp8"}
    found = play(graph(VllmWorker=service(AUTO)), other)
    assert found.checkpoints == []
    assert "has another identity than its name says" in found.warnings[0].message


def test_a_service_without_an_image_is_pending_and_says_so():
    found = play(graph(Empty={"replicas": 1}, Frontend=service()))
    assert found.status["state"] == "pending"
    assert "no image is given" in found.status["conditions"][0]["message"]
    assert len(found.deployments) == 1


def test_a_plain_service_needs_no_command():
    (deployment,) = play(graph(Frontend=service(args=()))).deployments
    assert "command" not in deployment["spec"]["template"]["spec"]["containers"][0]
    assert not [action for action in play(graph(Frontend=service())).actions if isinstance(action, Ensure)]


def test_a_service_that_is_gone_takes_its_deployment_along():
    both = graph(A=service(), B=service())
    deployments = [present(body) for body in play(both).deployments]
    foreign = present(deployments[1] | {"metadata": {"name": "other", "ownerReferences": []}})
    assert play(graph(A=service()), deployments=[*deployments, foreign]).removals == ["my-llm-b"]


def test_a_foreign_deployment_is_left_alone():
    deployment = present(play(graph(A=service())).deployments[0])
    deployment["metadata"]["ownerReferences"] = []
    found = play(graph(A=service(replicas=4)), deployments=[deployment])
    assert found.deployments == []
    assert "is not this graph's" in found.warnings[0].message


def test_names_that_differ_only_in_case_cannot_both_be_had():
    found = play(graph(Worker=service(), worker=service()))
    assert len(found.deployments) == 1
    assert "differs only in case" in found.warnings[0].message


def test_the_status_when_all_is_ready_and_then_does_not_change():
    body = graph(VllmWorker=service(AUTO))
    deployment = present(play(body).deployments[0], replicas=1, readyReplicas=1)
    found = play(body, checkpoint(phase="Ready"), deployments=[deployment])
    assert found.status["state"] == "successful"
    assert found.status["observedGeneration"] == 1
    assert found.status["services"] == {
        "VllmWorker": {"componentKind": "Deployment", "componentName": "my-llm-vllmworker", "replicas": 1, "readyReplicas": 1}
    }
    body["status"] = found.status
    assert play(body, checkpoint(phase="Ready"), deployments=[deployment]).status == {}
