"""What users write into pod templates may be secret: it is in no status, no Event and no line of the operator's log."""

import asyncio
import json
import logging

import pytest

from chrek_operator.admission.review import Question
from chrek_operator.admission.server import Webhooks
from chrek_operator.running import run_operator
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.cluster.resources import CHECKPOINTS, EVENTS, GRAPHS

pytestmark = pytest.mark.cluster

SECRET = "canary-0b5e1f"
IMAGE = "registry.invalid/worker:1"
WORKER = {
    "name": "main",
    "image": IMAGE,
    "command": ["serve", "--api-key", SECRET],
    "env": [{"name": "TOKEN", "value": SECRET}],
}
NO_VOLUME = {"volumeMounts": [{"name": "no-such-volume", "mountPath": "/models"}]}


def checkpoint(name, model, spec, **job):
    identity = {"model": model, "backendFramework": "vllm"}
    template = {"metadata": {"annotations": {"example.com/token": SECRET}}, "spec": spec}
    return {
        "apiVersion": CHECKPOINTS.api_version,
        "kind": CHECKPOINTS.kind,
        "metadata": {"name": name},
        "spec": {"identity": identity, "job": {"podTemplateSpec": template, **job}},
    }


def graph(**main):
    identity = {"model": "m", "backendFramework": "vllm"}
    worker = {"image": IMAGE, "command": ["serve", SECRET], "env": [{"name": "TOKEN", "value": SECRET}], **main}
    service = {"replicas": 1, "extraPodSpec": {"mainContainer": worker}, "checkpoint": {"enabled": True, "identity": identity}}
    return {"apiVersion": GRAPHS.api_version, "kind": GRAPHS.kind, "metadata": {"name": "g"}, "spec": {"services": {"W": service}}}


BODIES = [
    checkpoint("works", "a", {"containers": [WORKER]}),
    checkpoint("refused", "b", {"containers": [WORKER | NO_VOLUME]}),
    checkpoint("mistyped", "c", {"containers": [WORKER | {"env": [{"name": "TOKEN", "value": {"inner": SECRET}}]}]}),
    checkpoint("unknown-field", "d", {"containers": [WORKER | {"ports": SECRET}]}),
    checkpoint("no-container", "e", {"containers": [], "nodeName": SECRET}),
]
ENDS = {"works": "Creating", "refused": "Failed", "mistyped": "Failed", "unknown-field": "Failed", "no-container": "Failed"}


@pytest.fixture
async def operator(cluster, namespace, caplog):
    caplog.set_level(logging.DEBUG, logger="chrek_operator")
    stop = asyncio.Event()
    task = asyncio.create_task(run_operator(cluster, Settings(namespaces=(namespace,), poll=0.3), stop))
    yield
    stop.set()
    await task
    for left in await cluster.list(CHECKPOINTS, namespace):
        await cluster.patch(CHECKPOINTS, left["metadata"]["name"], {"metadata": {"finalizers": None}})


async def test_no_secret_of_a_user_is_told_to_anybody(operator, cluster, namespace, caplog):
    for body in BODIES:
        await cluster.create(CHECKPOINTS, body)
    await cluster.create(GRAPHS, graph(**NO_VOLUME))
    async with asyncio.timeout(60):
        while True:
            found = {body["metadata"]["name"]: body.get("status", {}) for body in await cluster.list(CHECKPOINTS)}
            graphs = (await cluster.get(GRAPHS, "g")).get("status", {})
            if ENDS.items() <= {name: status.get("phase") for name, status in found.items()}.items() and "state" in graphs:
                break
            await asyncio.sleep(0.05)
    assert all(found[name]["message"] for name, phase in ENDS.items() if phase == "Failed")
    told = [found, graphs, await cluster.list(EVENTS)]
    assert graphs["state"] == "failed"
    assert "no-such-volume" in json.dumps(told)
    assert SECRET not in json.dumps(told)
    assert namespace in caplog.text
    assert SECRET not in caplog.text


async def test_a_refusal_does_not_repeat_what_it_refuses(cluster, caplog):
    webhooks = Webhooks(cluster, Settings())
    answers = []
    for kind, body in [(names.CHECKPOINT_KIND, body) for body in BODIES] + [(names.GRAPH_KIND, graph(command=SECRET))]:
        question = Question("u", kind, "CREATE", cluster.namespace, dry_run=False, new=body, old={})
        answers.append(await webhooks.validate(question))
    pod = {
        "metadata": {"name": "p", "annotations": {names.ANNOTATION_RESTORE_FROM: "none", "example.com/token": SECRET}},
        "spec": {"containers": [WORKER]},
    }
    question = Question("u", "Pod", "CREATE", cluster.namespace, dry_run=False, new=pod, old={})
    answer = await webhooks.mutate(question)
    assert answer.warnings
    assert any(found.refusal for found in answers)
    assert SECRET not in json.dumps([[found.refusal, *found.warnings] for found in [*answers, answer]])
    assert SECRET not in caplog.text
