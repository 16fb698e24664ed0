"""`prewarm`: created, found, waited for."""

import json

import pytest
import yaml

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster.resources import GRAPHS

LLAMA = "4a5f6cbea582b088"
QWEN = "73e74442beb109ed"
NAME = "dynamocheckpoint.nvidia.com/"
FLAGS = ("--model", "Qwen/Qwen3-0.6B", "--framework", "vllm")
WORKER = ("--image", "vllm:latest", "--", "python3", "-m", "dynamo.vllm", "--model=x")
SERVICES = {
    "Frontend": {"replicas": 1},
    "Worker": {
        "extraPodSpec": {"mainContainer": {"image": "vllm:latest", "args": ["python3 -m dynamo.vllm"]}},
        "resources": {"limits": {"gpu": "1"}},
        "checkpoint": {"enabled": True, "mode": "auto", "identity": {"model": "meta-llama/Llama-3-8B", "framework": "vllm"}},
    },
    "Decode": {
        "extraPodSpec": {"mainContainer": {"image": "vllm:latest", "command": ["decode"]}},
        "checkpoint": {"enabled": True, "identity": {"model": "Qwen/Qwen3-0.6B", "backendFramework": "vllm"}},
    },
    "Reference": {"checkpoint": {"enabled": True, "checkpointRef": "by-hand"}},
}


def graph(*services, **metadata):
    spec = {"services": {name: SERVICES[name] for name in services}}
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llm"} | metadata,
        "spec": spec,
    }


@pytest.fixture
def write(tmp_path):
    def to_file(*documents):
        path = tmp_path / "documents.yaml"
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return str(path)

    return to_file


def test_created_then_found(chrek, fake):
    first = chrek("prewarm", *FLAGS, *WORKER)
    assert (first.code, first.out, first.err) == (0, f"{NAME}{QWEN} created\n", "")
    second = chrek("prewarm", *FLAGS, *WORKER)
    assert (second.code, second.out) == (0, f"{NAME}{QWEN} unchanged\n")
    created = fake.objects["dynamocheckpoints", "default", QWEN]
    assert created["metadata"]["labels"] == {"nvidia.com/checkpoint-hash": QWEN}
    assert created["spec"] == {
        "identity": {"model": "Qwen/Qwen3-0.6B", "backendFramework": "vllm", "tensorParallelSize": 1, "pipelineParallelSize": 1},
        "job": {
            "podTemplateSpec": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [
                        {"name": "main", "image": "vllm:latest", "command": ["python3", "-m", "dynamo.vllm", "--model=x"]}
                    ],
                }
            }
        },
    }


def test_another_name_with_the_same_hash_is_found(chrek, fake):
    fake.checkpoint("by-hand", model="Qwen/Qwen3-0.6B", phase="Ready")
    fake.checkpoint("broken", model="Qwen/Qwen3-0.6B", phase="Failed")
    assert chrek("prewarm", *FLAGS, *WORKER).out == f"{NAME}by-hand unchanged\n"


def test_one_that_is_being_deleted_is_not_found(chrek, fake):
    fake.checkpoint(QWEN, model="Qwen/Qwen3-0.6B", phase="Ready", metadata={"deletionTimestamp": "2026-01-31T11:00:00Z"})
    result = chrek("prewarm", *FLAGS, *WORKER)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"error: checkpoint {QWEN} is being deleted\nhint: try again when it is gone\n"


def test_a_name_taken_by_another_identity(chrek, fake):
    fake.checkpoint(QWEN, model="other")
    result = chrek("prewarm", *FLAGS, *WORKER)
    assert result.code == 1
    assert result.err.startswith(f"error: the name {QWEN} is taken by a checkpoint of another identity")


def test_graphs_and_checkpoints_in_files(chrek, fake, write):
    fake.checkpoint("by-hand", model="z")
    checkpoint = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoCheckpoint",
        "metadata": {"name": "named"},
        "spec": {"identity": {"model": "m", "framework": "vllm"}, "job": {"backoffLimit": 1, "podTemplateSpec": {"spec": {}}}},
    }
    result = chrek("prewarm", "-f", write(graph("Frontend", "Worker", "Decode", "Reference"), checkpoint))
    assert result.err == ""
    assert result.out == f"{NAME}{LLAMA} created\n{NAME}{QWEN} created\n{NAME}by-hand unchanged\n{NAME}named created\n"
    created = fake.objects["dynamocheckpoints", "default", LLAMA]
    assert created["metadata"]["labels"] == {
        "nvidia.com/dynamo-graph-deployment-name": "llm",
        "nvidia.com/dynamo-component": "Worker",
        "nvidia.com/checkpoint-hash": LLAMA,
    }
    template = created["spec"]["job"]["podTemplateSpec"]["spec"]
    assert template["restartPolicy"] == "Never"
    assert template["containers"] == [
        {
            "name": "main",
            "image": "vllm:latest",
            "command": ["/bin/sh", "-c"],
            "args": ["python3 -m dynamo.vllm"],
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
        }
    ]
    assert fake.objects["dynamocheckpoints", "default", "named"]["spec"]["job"]["backoffLimit"] == 1
    assert fake.objects["dynamocheckpoints", "default", "named"]["spec"]["identity"]["backendFramework"] == "vllm"


def test_a_live_graph(chrek, fake):
    fake.put(GRAPHS, "llm", spec=graph("Worker", "Decode")["spec"])
    assert chrek("prewarm", "--graph", "llm", "--service", "Decode").out == f"{NAME}{QWEN} created\n"
    assert chrek("prewarm", "--graph=llm").out == f"{NAME}{LLAMA} created\n{NAME}{QWEN} unchanged\n"
    missing = chrek("prewarm", "--graph", "llm", "--service", "Prefill")
    assert (missing.code, missing.err.splitlines()[0]) == (4, "error: the graph has no service Prefill")
    assert chrek("prewarm", "--graph", "nope").code == 4


def test_the_documents_namespace_counts(chrek, fake, write):
    path = write(graph("Worker", namespace="team"))
    assert chrek("prewarm", "-f", path).code == 0
    assert ("dynamocheckpoints", "team", LLAMA) in fake.objects
    result = chrek("prewarm", "-f", path, "-n", "other")
    assert (result.code, result.err.splitlines()[0]) == (2, f"error: {LLAMA} is of namespace team, not other")


TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "w", "image": "i"}]}}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "w", "image": "i"}]}},
        {
            "kind": "Job",
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "w", "image": "i"}]}}},
        },
        TEMPLATE,
    ],
)
def test_pod_templates(chrek, fake, write, body):
    assert chrek("prewarm", *FLAGS, "--pod-template", write(body)).code == 0
    template = fake.objects["dynamocheckpoints", "default", QWEN]["spec"]["job"]["podTemplateSpec"]
    assert template == TEMPLATE


def test_dry_run_by_the_client_needs_no_cluster(chrek, write):
    result = chrek("prewarm", "-f", write(graph("Worker", "Reference")), "--dry-run=client")
    assert (result.code, result.out) == (0, f"{NAME}{LLAMA} created (dry run)\n{NAME}by-hand unchanged (dry run)\n")
    found = yaml.safe_load(chrek("prewarm", *FLAGS, "--gpus=2", "--dry-run=client", "-o=yaml", *WORKER).out)
    worker = found["spec"]["job"]["podTemplateSpec"]["spec"]["containers"][0]
    assert (found["metadata"]["name"], worker["resources"]) == (QWEN, {"limits": {"nvidia.com/gpu": "2"}})


def test_dry_run_by_the_server_creates_nothing(chrek, fake):
    result = chrek("prewarm", *FLAGS, "--dry-run=server", *WORKER)
    assert result.out == f"{NAME}{QWEN} created (server dry run)\n"
    assert fake.objects == {}
    assert ("create (dry run)", "dynamocheckpoints", QWEN) in fake.calls


def changes(fake, *states):
    body = fake.checkpoint(QWEN, model="Qwen/Qwen3-0.6B", phase="Pending")
    for status in states:
        fake.changes.append(("MODIFIED", body | {"status": status}))
    return body


COPYING = {"step": "dump", "bytesDone": 1 << 30, "bytesTotal": 4 << 30, "bytesPerSecond": 2.5e9}


def test_waiting_tells_each_step_once_off_a_terminal(chrek, fake):
    half = COPYING | {"bytesDone": 2 << 30}
    changes(fake, {"phase": "Creating"}, {"phase": "Creating", "progress": COPYING}, {"phase": "Creating", "progress": half})
    fake.changes += [("MODIFIED", fake.checkpoint("another", model="o", phase="Ready"))]
    del fake.objects["dynamocheckpoints", "default", "another"]
    changes(fake, {"phase": "Ready"})
    result = chrek("prewarm", *FLAGS, "--wait", *WORKER)
    assert (result.code, result.out) == (0, f"{NAME}{QWEN} unchanged\n")
    assert result.err == f"{QWEN}: Pending\n{QWEN}: Creating\n{QWEN}: Creating: dump\n{QWEN}: Ready\n"


def test_waiting_rewrites_one_line_on_a_terminal(chrek, fake, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    changes(fake, {"phase": "Creating", "progress": COPYING}, {"phase": "Ready"})
    result = chrek("prewarm", *FLAGS, "--wait", *WORKER)
    assert result.err == (
        f"\r{QWEN}: Pending\x1b[K\r{QWEN}: Creating: dump 1Gi of 4Gi (25%), 2.50 GB/s, 1.3s left\x1b[K\r{QWEN}: Ready\x1b[K\n"
    )


def test_waiting_prints_the_final_object(chrek, fake):
    changes(fake, {"phase": "Ready", "message": "verified"})
    assert json.loads(chrek("prewarm", *FLAGS, "--wait", "-o", "json", *WORKER).out)["status"]["message"] == "verified"
    assert chrek("prewarm", *FLAGS, "-o", "name", *WORKER).out == f"{NAME}{QWEN}\n"


def test_a_failure_exits_5_with_the_reason(chrek, fake):
    changes(fake, {"phase": "Failed", "message": "the worker was never ready"})
    result = chrek("prewarm", *FLAGS, "--wait", *WORKER)
    assert (result.code, result.out) == (5, f"{NAME}{QWEN} unchanged\n")
    assert f"error: checkpoint {QWEN} failed: the worker was never ready\nhint: see" in result.err


def test_time_that_is_up_exits_5(chrek, fake, monkeypatch):
    changes(fake, {"phase": "Creating"})
    fake.changes.append(TimeoutError())
    result = chrek("prewarm", *FLAGS, "--wait", "--timeout", "90m", *WORKER)
    assert result.code == 5
    assert f"error: not ready after 90m: {QWEN} is Creating\n" in result.err


def test_a_checkpoint_deleted_meanwhile_exits_5(chrek, fake):
    fake.changes.append(("DELETED", changes(fake)))
    result = chrek("prewarm", *FLAGS, "--wait", *WORKER)
    assert (result.code, result.err.splitlines()[-1]) == (5, f"error: checkpoint {QWEN} was deleted while we waited for it")


def test_one_refusal_does_not_hide_the_others(chrek, fake, write):
    result = chrek("prewarm", "-f", write(graph("Reference", "Worker")))
    assert (result.code, result.out) == (4, f"{NAME}{LLAMA} created\n")
    assert result.err == 'Error from server (NotFound): dynamocheckpoints.nvidia.com "by-hand" not found\n'


def test_a_refused_create(chrek, fake):
    async def create(*_, **__):
        raise ClusterError("Error from server (Forbidden): no", status=403)

    fake.create = create
    result = chrek("prewarm", *FLAGS, "--wait", *WORKER)
    assert (result.code, result.out, result.err) == (1, "", "Error from server (Forbidden): no\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "error: give one of: an identity"),
        ([*FLAGS, "--graph", "g"], "error: give one of: an identity"),
        ([*FLAGS], "error: say how the worker starts"),
        ([*FLAGS, "--image", "i"], "error: --image and a command go together"),
        ([*FLAGS, "--", "cmd"], "error: --image and a command go together"),
        ([*FLAGS, "--pod-template", "p", "--image", "i", "--", "c"], "error: say how the worker starts"),
        (["--graph", "g", "--image", "i"], "error: --image, --gpus, --pod-template and a command go with an identity only"),
        ([*FLAGS, "--service", "s", *WORKER], "error: --service needs --graph"),
        ([*FLAGS, "-A", *WORKER], "error: -A makes no sense here"),
        ([*FLAGS, "--gpus", "-1", *WORKER], "error: --gpus: must not be negative"),
        (["--model", "m", *WORKER], "error: --backend-framework: is required"),
        ([*FLAGS, "--timeout", "soon", *WORKER], "error: invalid duration 'soon'"),
        ([*FLAGS, "--dry-run=yes", *WORKER], "error: --dry-run: invalid value 'yes'"),
    ],
)
def test_wrong_words(chrek, fake, words, line):
    result = chrek("prewarm", *words)
    assert (result.code, result.out, fake.objects) == (2, "", {})
    assert result.err.startswith(line)


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"kind": "ConfigMap"}, "document 1 (line 1): kind ConfigMap is no checkpoint"),
        ({"kind": "DynamoCheckpoint", "spec": {}}, "document 1 (line 1): spec.identity: expected a mapping of fields"),
        (graph("Frontend"), "document 1 (line 1): no service of the graph has an enabled checkpoint"),
        (
            {"kind": "DynamoCheckpoint", "spec": {"identity": {"model": "m", "framework": "vllm"}, "job": {}}},
            "document 1 (line 1): spec.job.podTemplateSpec: is required",
        ),
    ],
)
def test_documents_that_are_off(chrek, fake, write, document, line):
    result = chrek("prewarm", "-f", write(document, graph("Worker")))
    assert (result.code, fake.objects) == (2, {})
    assert line in result.err


def test_an_identity_that_is_there_needs_no_worker(chrek, fake):
    fake.checkpoint("by-hand", model="Qwen/Qwen3-0.6B")
    result = chrek("prewarm", "--model", "Qwen/Qwen3-0.6B", "--framework", "vllm")
    assert (result.code, result.out) == (0, f"{NAME}by-hand unchanged\n")


@pytest.mark.parametrize("strategy", ["none", "client", "server"])
def test_an_identity_that_is_not_there_does(chrek, fake, strategy):
    result = chrek("prewarm", *FLAGS, f"--dry-run={strategy}")
    assert (result.code, result.out, fake.objects) == (2, "", {})
    assert f"there is no checkpoint of this identity ({QWEN}) yet" in result.err


def test_a_pod_template_that_is_none(chrek, fake, write):
    assert "this is no pod template" in chrek("prewarm", *FLAGS, "--pod-template", write({"kind": "ConfigMap"})).err
    assert "expected one document, found 2" in chrek("prewarm", *FLAGS, "--pod-template", write({}, {})).err


def test_lists_of_objects(chrek, fake, tmp_path):
    def item(model):
        spec = {"identity": {"model": model, "backendFramework": "vllm"}, "job": {"podTemplateSpec": {"spec": {"containers": []}}}}
        return {"kind": "DynamoCheckpoint", "metadata": {"name": model}, "spec": spec}

    path = tmp_path / "list.json"
    path.write_text(json.dumps({"kind": "List", "items": [item("a"), item("b")]}))
    lines = [f"dynamocheckpoint.nvidia.com/{name} created" for name in ("a", "b")]
    assert chrek("prewarm", "-f", str(path)).out.splitlines() == lines
    assert chrek("prewarm", "-f", str(path)).out.splitlines() == [line.replace("created", "unchanged") for line in lines]
    path.write_text(json.dumps({"kind": "List", "items": [item("c"), {"kind": "Pod"}]}))
    result = chrek("prewarm", "-f", str(path))
    assert (result.code, result.out) == (2, "")
    assert ", item 2: kind Pod is no checkpoint" in result.err
