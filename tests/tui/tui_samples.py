"""What the tests' cluster holds: checkpoints, pods, nodes, graphs, under a clock that stands still."""

import json
from datetime import UTC, datetime, timedelta

from kubectl_chrek.api import names

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def ago(**units):
    return (NOW - timedelta(**units)).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_checkpoint(name, **given) -> dict:
    """A DynamoCheckpoint; `phase`, `model`, `namespace`, `status`, `created` and more change what matters to a test."""
    identity = {"model": "meta-llama/Llama-3.1-8B-Instruct", "backendFramework": "vllm", "dtype": "bfloat16"}
    identity |= {"tensorParallelSize": 1, "pipelineParallelSize": 1} | given.get("identity", {})
    status = {"phase": given.get("phase", "Ready")} | given.get("status", {})
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CHECKPOINT_KIND,
        "metadata": {
            "name": name,
            "namespace": given.get("namespace", "default"),
            "uid": given.get("uid", f"uid-{given.get('namespace', 'default')}-{name}"),
            "resourceVersion": "1",
            "creationTimestamp": given.get("created", ago(hours=5)),
        }
        | given.get("metadata", {}),
        "spec": {"identity": identity, "job": {"podTemplateSpec": {"spec": {"containers": [{"name": "main", "image": "vllm"}]}}}},
        "status": status,
    }


def ready_status(**given) -> dict:
    artifact = {
        "generation": "0b7c",
        "digest": "9f" * 32,
        "bytes": 19_327_352_832,
        "files": 431,
        "node": "gpu-a-01",
        "capturedAt": ago(hours=4),
        "coldStartSeconds": 84.2,
        "captureSeconds": 31.4,
        "phases": {"quiesce": 0.4, "cuda": 6.1, "dump": 19.8, "rootfs": 1.2, "verify": 3.5},
    } | given.pop("artifact", {})
    last = {
        "pod": "llama-decode-6d4f8-x2lkq",
        "node": "gpu-a-02",
        "result": "restored",
        "seconds": 6.1,
        "at": ago(minutes=12),
        "phases": {"verify": 1.9, "rootfs": 0.3, "criu": 2.1, "cuda": 1.7},
    } | given.pop("last", {})
    conditions = [
        {
            "type": "JobCreated",
            "status": "True",
            "reason": "JobCreated",
            "message": "Job checkpoint-llama",
            "lastTransitionTime": ago(hours=5),
        },
        {"type": "JobCompleted", "status": "True", "reason": "JobSucceeded", "message": "", "lastTransitionTime": ago(hours=4)},
        {
            "type": "NameIsHash",
            "status": "False",
            "reason": "NameDiffersFromIdentity",
            "message": "the identity's hash is another",
            "lastTransitionTime": ago(hours=5),
        },
    ]
    return {
        "phase": "Ready",
        "jobName": "checkpoint-llama-3-8b",
        "location": "/checkpoints/4f2c9e1ab0d37788",
        "storageType": "pvc",
        "message": "The capture is complete and verified",
        "artifact": artifact,
        "lastRestore": last,
        "restores": 12,
        "coldStarts": 3,
        "conditions": conditions,
    } | given


def make_pod(name, **given) -> dict:
    labels = {names.LABEL_NAME: "llama-3-8b"}
    labels |= {names.LABEL_SOURCE: "true"} if given.get("source") else {names.LABEL_RESTORE: "true"}
    startup = {names.ANNOTATION_STARTUP: given["startup"]} if "startup" in given else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": given.get("created", ago(minutes=14)),
            "labels": labels,
            "annotations": startup,
        },
        "spec": {"nodeName": given.get("node", "gpu-a-02"), "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": True, "state": {"running": {}}}]}
        | given.get("status", {}),
    }


def make_event(name, reason, message, **given) -> dict:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": given.get("at", ago(minutes=5)),
        },
        "involvedObject": {"kind": given.get("kind", "DynamoCheckpoint"), "name": given.get("about", "llama-3-8b")},
        "reason": reason,
        "message": message,
        "type": given.get("type", "Normal"),
        "count": given.get("count", 1),
        "lastTimestamp": given.get("at", ago(minutes=5)),
    }


def sample_checkpoints() -> list[dict]:
    creating = {
        "jobName": "checkpoint-mixtral",
        "progress": {"step": "dump", "bytesDone": 42_000_000_000, "bytesTotal": 93_000_000_000, "bytesPerSecond": 1_820_000_000.0},
    }
    return [
        make_checkpoint("llama-3-8b", status=ready_status()),
        make_checkpoint(
            "mixtral-8x22b",
            phase="Creating",
            status=creating,
            identity={"model": "mistralai/Mixtral-8x22B-Instruct-v0.1", "tensorParallelSize": 8, "dtype": "float16"},
            created=ago(seconds=74),
        ),
        make_checkpoint(
            "qwen-72b",
            namespace="research",
            phase="Failed",
            status={
                "failure": "the worker was not ready within 3600 s",
                "message": "Job checkpoint-qwen-72b failed: DeadlineExceeded",
            },
            identity={"model": "Qwen/Qwen2.5-72B-Instruct", "backendFramework": "sglang", "tensorParallelSize": 4},
            created=ago(days=2, hours=3),
        ),
        make_checkpoint(
            "deepseek-r1",
            phase="Pending",
            identity={
                "model": "deepseek-ai/DeepSeek-R1",
                "backendFramework": "trtllm",
                "tensorParallelSize": 8,
                "pipelineParallelSize": 2,
            },
            created=ago(seconds=9),
        ),
        make_checkpoint(
            "gemma-2-9b",
            status=ready_status(
                artifact={"bytes": 21_474_836_480, "coldStartSeconds": 51.0},
                last={"result": "cold", "seconds": 52.6, "reason": "chunk 17 of pages-3.img has a wrong digest", "phases": {}},
                restores=0,
                coldStarts=1,
            ),
            identity={"model": "google/gemma-2-9b-it", "dtype": ""},
            created=ago(days=40),
        ),
    ]


def make_node(name, **given) -> dict:
    gpus = [{"model": given.get("gpu", "H200"), "memoryBytes": 143 * 2**30}] * given.get("count", 8)
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": ago(days=9)},
        "status": {
            "agent": {"version": "0.1.0", "pod": f"chrek-agent-{name}", "heartbeatAt": given.get("heard", ago(seconds=12))},
            "platform": {
                "architecture": "x86_64",
                "kernel": "6.8.0",
                "criu": "4.2.1",
                "driver": given.get("driver", "580.95.05"),
                "cuda": "13.0",
                "memoryBytes": 2048 * 2**30,
                "gpus": gpus,
            },
            "store": {
                "type": "pvc",
                "location": "/checkpoints",
                "totalBytes": 4000 * 2**30,
                "freeBytes": 1500 * 2**30,
                "artifacts": 2,
            },
            "ceilings": {
                "copyBytesPerSecond": 24 * 10**9,
                "hashBytesPerSecond": 11 * 10**9,
                "storeReadBytesPerSecond": 7 * 10**9,
            },
            "cache": {"bytes": 180 * 2**30, "quotaBytes": 500 * 2**30, "hashes": ["4f2c9e1ab0d37788"]},
            "operations": given.get("operations", []),
            "checks": given.get("checks", [{"name": "criu", "verdict": "ok", "message": "4.2.1"}]),
        },
    }


def sample_nodes() -> list[dict]:
    capture = {"kind": "capture", "namespace": "default", "checkpoint": "mixtral-8x22b", "pod": "checkpoint-mixtral-x"}
    capture |= {"step": "dump", "bytesDone": 42 * 10**9, "bytesTotal": 93 * 10**9, "startedAt": ago(seconds=23)}
    slow = {"name": "store", "verdict": "warn", "message": "reads 0.4 GB/s [nfs]", "fix": "mount it with nconnect=16"}
    return [
        make_node("gpu-a-01", operations=[capture]),
        make_node("gpu-a-02", checks=[slow]),
        make_node("gpu-b-01", gpu="A100", driver="535.1", count=4, heard=ago(minutes=9)),
    ]


def sample_graphs() -> list[dict]:
    identity = {"model": "meta-llama/Llama-3.1-8B-Instruct", "backendFramework": "vllm"}
    return [
        {
            "metadata": {"name": "chat", "namespace": "default", "uid": "uid-chat", "labels": {"team": "search"}},
            "spec": {
                "services": {
                    "Frontend": {"replicas": 1},
                    "Decode": {"checkpoint": {"enabled": True, "checkpointRef": "llama-3-8b"}},
                    "Prefill": {"checkpoint": {"enabled": True, "identity": identity}},
                    "Broken": {"checkpoint": {"enabled": True}},
                }
            },
        }
    ]


def sample_workers() -> list[dict]:
    def worker(name, startup=None, **given):
        pod = make_pod(name, **({"startup": json.dumps(startup)} if startup else {}))
        pod["metadata"]["labels"] |= given.get("labels", {})
        pod["metadata"] |= {"ownerReferences": given["owners"]} if "owners" in given else {}
        return pod

    decode = {names.LABEL_GRAPH: "chat", names.LABEL_COMPONENT: "Decode"}
    restored = {"result": "restored", "checkpoint": "llama-3-8b", "seconds": 6.1, "phases": {"verify": 1.9, "criu": 2.1}}
    cold = {"result": "cold", "checkpoint": "llama-3-8b", "reason": "the GPU is an A100, the capture is of an H200", "seconds": 83}
    return [
        worker("chat-decode-0", restored, labels=decode),
        worker("chat-decode-1", cold, labels=decode),
        worker(
            "batch-7d9f-x", restored, owners=[{"kind": "ReplicaSet", "name": "batch-7d9f"}], labels={"pod-template-hash": "7d9f"}
        ),
    ]
