"""A graph's service as a pod template."""

import copy

import pytest

from kubectl_chrek.api.errors import NotFoundError, UsageError
from kubectl_chrek.api.rendering import render_pod_template, worker_container


def render(service, spec=None, **options):
    graph = {"metadata": {"name": "g"}, "spec": {**(spec or {}), "services": {"W": service}}}
    before = copy.deepcopy(graph)
    template = render_pod_template(graph, "W", **options)
    assert graph == before
    return template


def main(**container):
    return {"extraPodSpec": {"mainContainer": {"image": "i", "command": ["c"]} | container}}


def worker(template):
    return template["spec"]["containers"][0]


def test_the_whole_service():
    template = render(
        {
            "componentType": "worker",
            "replicas": 2,
            "resources": {"requests": {"cpu": "2", "gpu": 1, "custom": {"rdma/ib": 1}}, "limits": {"gpu": "1", "memory": "8Gi"}},
            "envs": [{"name": "B", "value": "service"}, {"name": "C", "value": "service"}],
            "envFromSecret": "hf-token",
            "volumeMounts": [{"name": "models", "mountPoint": "/models"}, {"name": "cache", "useAsCompilationCache": True}],
            "sharedMemory": {"size": "8Gi"},
            "readinessProbe": {"httpGet": {"path": "/health", "port": 9090}},
            "labels": {"l": "service", "m": "service"},
            "annotations": {"a": "service"},
            "extraPodMetadata": {"labels": {"m": "extra"}, "annotations": {"b": "extra"}},
            "extraPodSpec": {
                "serviceAccountName": "sa",
                "volumes": [{"name": "models", "emptyDir": {}}],
                "containers": [{"name": "side", "image": "s"}],
                "mainContainer": {
                    "name": "other",
                    "image": "vllm:latest",
                    "args": ["python3 -m dynamo.vllm"],
                    "env": [{"name": "C", "value": "container"}],
                    "volumeMounts": [{"name": "models", "mountPath": "/more"}],
                    "workingDir": "/work",
                },
            },
        },
        {
            "backendFramework": "vllm",
            "envs": [{"name": "A", "value": "graph"}, {"name": "B", "value": "graph"}],
            "labels": {"l": "graph", "k": "graph"},
            "pvcs": [{"name": "models"}, {"name": "cache"}],
        },
    )
    assert template["metadata"] == {
        "labels": {"l": "service", "k": "graph", "m": "extra"},
        "annotations": {"a": "service", "b": "extra"},
    }
    assert worker(template) == {
        "name": "main",
        "image": "vllm:latest",
        "command": ["/bin/sh", "-c"],
        "args": ["python3 -m dynamo.vllm"],
        "workingDir": "/work",
        "env": [{"name": "A", "value": "graph"}, {"name": "B", "value": "service"}, {"name": "C", "value": "container"}],
        "envFrom": [{"secretRef": {"name": "hf-token"}}],
        "resources": {
            "requests": {"cpu": "2", "nvidia.com/gpu": "1", "rdma/ib": "1"},
            "limits": {"nvidia.com/gpu": "1", "memory": "8Gi"},
        },
        "readinessProbe": {"httpGet": {"path": "/health", "port": 9090}},
        "volumeMounts": [
            {"name": "models", "mountPath": "/more"},
            {"name": "models", "mountPath": "/models"},
            {"name": "cache", "mountPath": "/root/.cache/vllm"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }
    assert template["spec"]["serviceAccountName"] == "sa"
    assert template["spec"]["containers"][1:] == [{"name": "side", "image": "s"}]
    assert template["spec"]["volumes"] == [
        {"name": "models", "emptyDir": {}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
    ]


def test_a_plain_service_renders_to_nothing_but_itself():
    assert render(main()) == {
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {"containers": [{"name": "main", "image": "i", "command": ["c"]}]},
    }


@pytest.mark.parametrize(
    ("container", "command", "args"),
    [
        ({"command": None, "args": ["serve --model x"]}, ["/bin/sh", "-c"], ["serve --model x"]),
        ({"command": ["python3"], "args": ["worker.py"]}, ["python3"], ["worker.py"]),
        ({"command": None, "args": ["serve", "--model", "x"]}, None, ["serve", "--model", "x"]),
        ({"command": None, "args": ["--model=x"]}, None, ["--model=x"]),
    ],
)
def test_commands(container, command, args):
    found = worker(render(main(**container)))
    assert (found.get("command"), found["args"]) == (command, args)


def test_shared_memory_can_be_disabled():
    assert "volumes" not in render(main() | {"sharedMemory": {"disabled": True, "size": "1Gi"}})["spec"]


def test_the_checkpoints_command_fills_in():
    defaults = {"spec": {"containers": [{"name": "x"}, {"name": "main", "image": "other", "command": ["a"], "args": ["b"]}]}}
    found = worker(render(main(command=None), defaults=defaults))
    assert (found["image"], found["command"], found["args"]) == ("i", ["a"], ["b"])
    assert worker(render(main(), defaults=defaults))["command"] == ["c"]


def test_an_images_own_entrypoint_will_do_without_the_shim():
    assert worker(render(main(command=None), needs_command=False)) == {"name": "main", "image": "i"}


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({}, "spec.services.W: the worker has no image"),
        (None, "spec.services.W: the worker has no image"),
        (main(command=None), "spec.services.W: the worker has no command"),
        ({"extraPodSpec": {"mainContainer": "x"}}, "spec.services.W.extraPodSpec.mainContainer: expected a mapping"),
        ({"extraPodSpec": []} | main() | {"extraPodSpec": "x"}, "spec.services.W.extraPodSpec: expected a mapping"),
        (main() | {"envs": {"A": "b"}}, "spec.services.W.envs: expected a list of mappings"),
        (main() | {"resources": {"limits": "1"}}, "spec.services.W.resources.limits: expected a mapping"),
        (main() | {"volumeMounts": [{"name": "x"}]}, "spec.services.W.volumeMounts: an entry needs name"),
    ],
)
def test_what_cannot_be_rendered(service, message):
    with pytest.raises(UsageError, match=message):
        render(service)


def test_a_service_that_is_not_there():
    with pytest.raises(NotFoundError, match=r"spec\.services\.X"):
        render_pod_template({"spec": {"services": {"W": {}}}}, "X")


def test_the_worker_of_a_template():
    containers = [{"name": "a"}, {"name": "main"}]
    assert worker_container({"spec": {"containers": containers}}) == {"name": "main"}
    assert worker_container({"spec": {"containers": containers[:1]}}) == {"name": "a"}
    annotated = {"metadata": {"annotations": {"nvidia.com/chrek-container": "a"}}, "spec": {"containers": containers}}
    assert worker_container(annotated) == {"name": "a"}
    assert worker_container({}) is None
