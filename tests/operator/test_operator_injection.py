"""Golden pod templates with the shim in them."""

from copy import deepcopy

import pytest

from chrek_operator.capture_env import CAPTURE_ENV
from chrek_operator.injection import Injection, inject_source, inject_target, original_command
from kubectl_chrek.api.errors import UsageError

HASH = "5941a4cb3c363457"
INJECTION = Injection("my-ckpt", HASH, "pvc", "/checkpoints")
USER = {
    "metadata": {"labels": {"team": "a", "nvidia.com/checkpoint-source": "false"}, "annotations": {"x": "y"}},
    "spec": {
        "nodeSelector": {"gpu": "h100"},
        "containers": [
            {"name": "sidecar", "image": "log:1"},
            {
                "name": "main",
                "image": "worker:1",
                "command": ["python3", "-m", "dynamo.vllm"],
                "args": ["--model", "x"],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "DYN_CHECKPOINT_PATH", "value": "/mine"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                "livenessProbe": {"httpGet": {"path": "/live", "port": 1}},
                "startupProbe": {"httpGet": {"path": "/start", "port": 1}},
            },
        ],
        "volumes": [{"name": "cache", "emptyDir": {}}],
    },
}
ENV = [
    {"name": "DYN_CHECKPOINT_STORAGE_TYPE", "value": "pvc"},
    {"name": "DYN_CHECKPOINT_PATH", "value": "/checkpoints"},
    {"name": "DYN_READY_FOR_CHECKPOINT_FILE", "value": "/tmp/checkpoint-ready"},
    {"name": "DYN_RESTORE_MARKER_FILE", "value": "/tmp/dynamo-restored"},
    {"name": "CHREK_CONTROL_DIR", "value": "/checkpoint-signal"},
    {"name": "DYN_CHECKPOINT_HASH", "value": HASH},
    {"name": "DYN_CHECKPOINT_LOCATION", "value": f"/checkpoints/{HASH}"},
]
SIGNAL = {"name": "DYN_CHECKPOINT_SIGNAL_FILE", "value": f"/checkpoint-signal/{HASH}.done"}
SNAPSHOT = {"name": "DYN_SNAPSHOT_CONTROL_DIR", "value": "/checkpoint-signal"}
CAPTURE = [{"name": entry.name, "value": entry.value} for entry in CAPTURE_ENV]
USER_ENV = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
COMMAND = ["python3", "/chrek/chrek_worker.pyz", "--", "python3", "-m", "dynamo.vllm", "--model", "x"]
MOUNTS = [
    {"name": "cache", "mountPath": "/cache"},
    {"name": "chrek-worker", "mountPath": "/chrek", "readOnly": True},
    {"name": "checkpoint-signal", "mountPath": "/checkpoint-signal"},
    {"name": "podinfo", "mountPath": "/etc/podinfo", "readOnly": True},
]
FIELDS = {
    "pod_name": "metadata.name",
    "pod_uid": "metadata.uid",
    "pod_namespace": "metadata.namespace",
    "dyn_namespace": "metadata.annotations['nvidia.com/dyn-namespace']",
    "dyn_component": "metadata.annotations['nvidia.com/dyn-component']",
    "dyn_parent_dgd_name": "metadata.annotations['nvidia.com/dyn-parent-dgd-name']",
    "dyn_parent_dgd_namespace": "metadata.annotations['nvidia.com/dyn-parent-dgd-namespace']",
    "dyn_discovery_backend": "metadata.annotations['nvidia.com/dyn-discovery-backend']",
    "dyn_parent_dgd_k8s_name": "metadata.labels['nvidia.com/dynamo-graph-deployment-name']",
    "dyn_parent_dgd_k8s_namespace": "metadata.namespace",
    "dyn_namespace_worker_suffix": "metadata.labels['nvidia.com/dynamo-worker-hash']",
}
VOLUMES = [
    {"name": "cache", "emptyDir": {}},
    {
        "name": "chrek-worker",
        "configMap": {
            "name": "chrek-worker",
            "items": [
                {"key": "chrek_worker.pyz", "path": "chrek_worker.pyz"},
                {"key": "driver_copy-x86_64.so", "path": "driver_copy-x86_64.so"},
            ],
        },
    },
    {"name": "checkpoint-signal", "emptyDir": {}},
    {
        "name": "podinfo",
        "downwardAPI": {"items": [{"path": path, "fieldRef": {"fieldPath": field}} for path, field in FIELDS.items()]},
    },
]


def test_the_source():
    assert inject_source(USER, INJECTION) == {
        "metadata": {
            "labels": {
                "team": "a",
                "nvidia.com/checkpoint-name": "my-ckpt",
                "nvidia.com/checkpoint-hash": HASH,
                "nvidia.com/checkpoint-source": "true",
            },
            "annotations": {"x": "y"},
        },
        "spec": {
            "nodeSelector": {"gpu": "h100"},
            # It ends with the worker, and so does the Job.
            "initContainers": [{"name": "sidecar", "image": "log:1", "restartPolicy": "Always"}],
            "containers": [
                {
                    "name": "main",
                    "image": "worker:1",
                    "command": COMMAND,
                    "env": [*ENV, SIGNAL, *CAPTURE, *USER_ENV, SNAPSHOT],
                    "volumeMounts": MOUNTS,
                    "readinessProbe": {
                        "exec": {"command": ["cat", "/tmp/checkpoint-ready"]},
                        "initialDelaySeconds": 1,
                        "periodSeconds": 1,
                    },
                },
            ],
            "volumes": VOLUMES,
            "restartPolicy": "Never",
        },
    }


def test_the_target():
    user = USER["spec"]["containers"][1]
    assert inject_target(USER, INJECTION) == {
        "metadata": {
            "labels": {
                "team": "a",
                "nvidia.com/checkpoint-name": "my-ckpt",
                "nvidia.com/checkpoint-hash": HASH,
                "nvidia.com/chrek-restore-target": "true",
            },
            "annotations": {"x": "y"},
        },
        "spec": {
            "nodeSelector": {"gpu": "h100"},
            "containers": [
                {"name": "sidecar", "image": "log:1"},
                {
                    "name": "main",
                    "image": "worker:1",
                    "command": COMMAND,
                    "env": [*ENV, *CAPTURE, *USER_ENV],
                    "volumeMounts": MOUNTS,
                    "livenessProbe": user["livenessProbe"],
                    "startupProbe": user["startupProbe"] | {"failureThreshold": 66},
                },
            ],
            "volumes": VOLUMES,
        },
    }


@pytest.mark.parametrize("inject", [inject_source, inject_target])
def test_the_given_template_is_not_touched(inject):
    before = deepcopy(USER)
    inject(USER, INJECTION)
    assert before == USER


def test_a_readiness_probe_of_its_own_stays():
    probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 7}
    template = {"spec": {"containers": [{"name": "w", "image": "i", "command": ["serve"], "readinessProbe": probe}]}}
    worker = inject_source(template, INJECTION)["spec"]["containers"][0]
    assert worker["readinessProbe"] == probe
    assert SNAPSHOT not in worker["env"]


@pytest.mark.parametrize(
    ("command", "annotations", "waits"),
    [
        (["python3", "-m", "dynamo.vllm"], {}, True),
        (["sh", "-c", "ulimit -n 65536; exec python3 -m dynamo.sglang --model x"], {}, True),
        (["./start"], {"nvidia.com/chrek-adapter": "dynamo"}, True),
        (["python3", "-m", "dynamo.trtllm"], {"nvidia.com/chrek-adapter": "plain"}, False),
        (["python3", "-m", "dynamo.frontend"], {}, False),
    ],
)
def test_a_dynamo_worker_is_told_that_it_is_to_be_captured_and_its_probe_waits_for_that(command, annotations, waits):
    probe = {"httpGet": {"path": "/health", "port": 9090}}
    mine = {"name": "DYN_SNAPSHOT_CONTROL_DIR", "value": "/mine"}
    container = {"name": "w", "image": "i", "command": command, "readinessProbe": probe, "env": [mine]}
    template = {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}
    source, target = (inject(template, INJECTION)["spec"]["containers"][0] for inject in (inject_source, inject_target))
    assert [entry for entry in source["env"] if entry["name"] == mine["name"]] == [SNAPSHOT] * waits
    assert (source["readinessProbe"] == probe) is not waits
    assert target["readinessProbe"] == probe
    assert mine["name"] not in {entry["name"] for entry in target["env"]}


def test_a_platform_that_labels_its_pods_is_understood():
    labels = {"nvidia.com/dynamo-namespace": "ns", "nvidia.com/dynamo-component-type": "worker"}
    metadata = {"labels": labels, "annotations": {"nvidia.com/dyn-component": "decode"}}
    spec = inject_target({"metadata": metadata, "spec": {"containers": USER["spec"]["containers"][1:]}}, INJECTION)["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == "podinfo")
    fields = {item["path"]: item["fieldRef"]["fieldPath"] for item in volume["downwardAPI"]["items"]}
    assert fields == FIELDS | {"dyn_namespace": "metadata.labels['nvidia.com/dynamo-namespace']"}


def test_a_target_of_an_unknown_checkpoint_is_told_no_hash():
    pod = inject_target(USER, Injection("later", "", "pvc", "/checkpoints"))
    env = {entry["name"] for entry in pod["spec"]["containers"][1]["env"]}
    assert pod["metadata"]["labels"]["nvidia.com/checkpoint-name"] == "later"
    assert "nvidia.com/checkpoint-hash" not in pod["metadata"]["labels"]
    assert not env & {"DYN_CHECKPOINT_HASH", "DYN_CHECKPOINT_LOCATION", "DYN_CHECKPOINT_SIGNAL_FILE"}


@pytest.mark.parametrize(
    ("annotations", "worker"),
    [({}, "main"), ({"nvidia.com/chrek-container": "engine"}, "engine")],
)
def test_the_worker_is_the_annotated_container_else_main(annotations, worker):
    containers = [{"name": name, "image": "i", "command": ["run"]} for name in ("first", "main", "engine")]
    pod = inject_target({"metadata": {"annotations": annotations}, "spec": {"containers": containers}}, INJECTION)
    wrapped = [container["name"] for container in pod["spec"]["containers"] if container["command"] != ["run"]]
    assert wrapped == [worker]


def test_volumes_under_our_names_are_replaced():
    container = {"name": "main", "image": "i", "command": ["c"], "volumeMounts": [{"name": "mine", "mountPath": "/chrek"}]}
    template = {"spec": {"containers": [container], "volumes": [{"name": "checkpoint-signal", "hostPath": {"path": "/x"}}]}}
    spec = inject_target(template, INJECTION)["spec"]
    assert [volume for volume in spec["volumes"] if "hostPath" in volume] == []
    assert [mount["name"] for mount in spec["containers"][0]["volumeMounts"]] == ["chrek-worker", "checkpoint-signal", "podinfo"]


@pytest.mark.parametrize(
    ("container", "command"),
    [
        ({"command": ["a"], "args": ["b", "c"]}, ["a", "b", "c"]),
        ({"command": ["a"]}, ["a"]),
        ({"args": ["python3 -m dynamo.vllm --model X"]}, ["/bin/sh", "-c", "python3 -m dynamo.vllm --model X"]),
    ],
)
def test_the_command_as_a_user_writes_it(container, command):
    assert original_command(container) == command


@pytest.mark.parametrize("container", [{}, {"args": []}, {"args": ["--port", "1"]}, {"args": ["--verbose"]}])
def test_an_entrypoint_of_the_image_cannot_be_wrapped(container):
    with pytest.raises(UsageError, match="the image's own entrypoint cannot be wrapped"):
        original_command({"name": "main", **container})


def test_a_template_without_containers_is_refused():
    with pytest.raises(UsageError, match="no containers"):
        inject_source({"spec": {}}, INJECTION)


def probed(env=(), **probes):
    container = {"name": "w", "image": "i", "command": ["serve"], "env": list(env), **probes}
    return inject_target({"spec": {"containers": [container]}}, INJECTION)["spec"]["containers"][0]


def test_a_liveness_probe_waits_for_the_restore_and_then_as_long_as_it_would_have():
    liveness = {"httpGet": {"path": "/live", "port": 1}, "initialDelaySeconds": 60, "periodSeconds": 5, "failureThreshold": 4}
    worker = probed(livenessProbe=liveness)
    assert worker["livenessProbe"] == liveness
    assert worker["startupProbe"] == {"httpGet": liveness["httpGet"], "periodSeconds": 1, "failureThreshold": 60 + 20 + 630}


def test_what_the_pod_says_about_the_shims_patience_counts():
    env = [{"name": "CHREK_CLAIM_SECONDS", "value": "5"}, {"name": "CHREK_RESTORE_SECONDS", "value": "nonsense"}]
    worker = probed(env, startupProbe={"exec": {"command": ["true"]}, "periodSeconds": 10})
    assert worker["startupProbe"]["failureThreshold"] == 3 + 61


def test_without_a_liveness_probe_there_is_nothing_to_hold():
    assert "startupProbe" not in probed(readinessProbe={"exec": {"command": ["true"]}})


@pytest.mark.parametrize(
    ("container", "recorded", "command"),
    [
        ({}, ["serve", "--x"], ["serve", "--x"]),
        ({"args": ["--x"]}, ["serve", "--x"], ["serve", "--x"]),
        ({"command": ["mine"]}, ["serve"], ["mine"]),
    ],
)
def test_a_recorded_command_stands_in_for_the_images(container, recorded, command):
    assert original_command({"name": "main", **container}, recorded) == command


def test_a_recorded_command_with_other_arguments_does_not():
    with pytest.raises(UsageError):
        original_command({"name": "main", "args": ["--y"]}, ["serve", "--x"])


@pytest.mark.parametrize(
    ("mounts", "volumes"),
    [([{"name": "mine", "mountPath": "/etc/podinfo/"}], []), ([], [{"name": "podinfo", "emptyDir": {}}])],
)
def test_what_a_pod_has_at_podinfo_of_its_own_stays(mounts, volumes):
    container = {"name": "w", "image": "i", "command": ["serve"], "volumeMounts": mounts}
    spec = inject_target({"spec": {"containers": [container], "volumes": volumes}}, INJECTION)["spec"]
    assert not any("downwardAPI" in volume for volume in spec["volumes"])
    assert spec["containers"][0]["volumeMounts"][: len(mounts)] == mounts
