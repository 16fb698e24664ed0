"""A worker as the Dynamo platform would make it: captured from its pod, it is restored in the next; from the graph's words, not."""

import uuid

import pytest

from chrek_operator.capturing import source_template
from kubectl_chrek.api import names
from kubectl_chrek.api.rendering import render_pod_template
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, PODS


def graph_of(worker):
    """What the user wrote; the cluster is not shown it, since its own operator would run it."""
    words = [f"exec {' '.join(worker['command'])}"]
    service = {
        "extraPodSpec": {"mainContainer": {"image": worker["image"], "args": words}},
        "readinessProbe": worker["readinessProbe"],
    }
    return {"metadata": {"name": "my-llm"}, "spec": {"services": {"Worker": service}}}


async def platform(lab, graph, reference=""):
    """What the platform makes of it: a flag, a variable that engines read, and a mount more."""
    name = f"platform-{uuid.uuid4().hex[:6]}"
    labels = {"app": name, names.LABEL_GRAPH: "my-llm", names.LABEL_COMPONENT: "Worker"}
    rendered = render_pod_template(graph, "Worker")
    (worker,) = rendered["spec"]["containers"]
    worker["args"] = [f"{worker['args'][0]} --mib 8"]
    worker["env"] = [{"name": "VLLM_PORT", "value": "5000"}]
    worker["volumeMounts"] = [{"name": "added", "mountPath": "/added"}]
    spec = {"containers": [worker], "volumes": [{"name": "added", "emptyDir": {}}], "terminationGracePeriodSeconds": 3}
    annotations = {names.ANNOTATION_RESTORE_FROM: reference} if reference else {}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}
    body = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    await lab.cluster.create(DEPLOYMENTS, {"metadata": {"name": name}, "spec": body})
    return name


async def captured(lab, template):
    """A Ready checkpoint of this template."""
    name = f"platform-{uuid.uuid4().hex[:6]}"
    spec = {"identity": {"model": name, "backendFramework": "vllm"}, "job": {"podTemplateSpec": template}}
    body = {"apiVersion": CHECKPOINTS.api_version, "kind": CHECKPOINTS.kind, "metadata": {"name": name}, "spec": spec}
    await lab.cluster.create(CHECKPOINTS, body)
    checkpoint = await lab.settled(name)
    assert checkpoint.ready, checkpoint.status.message
    return name


def placed(pod):
    return bool(pod["spec"].get("nodeName"))


@pytest.mark.parametrize("source", ["the platform's pod", "the graph's words"])
async def test_a_platforms_pod_is_restored_from_a_capture_of_its_like(lab, source):
    graph = graph_of(lab.worker())
    first = await lab.until(PODS, placed, f"app={await platform(lab, graph)}")
    like = source == "the platform's pod"
    template = source_template(graph, "Worker", [first]) if like else render_pod_template(graph, "Worker")
    name = await captured(lab, template)
    await platform(lab, graph, name)
    startup = lab.startup(await lab.ready_pod(name))
    assert startup["result"] == ("restored" if like else "cold"), startup
    assert like or "captured with" in startup["reason"]
