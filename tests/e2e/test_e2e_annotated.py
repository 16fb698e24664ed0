"""A Deployment without Dynamo whose pods ask for a checkpoint, and the guide's troubleshooting commands."""

import asyncio
import os
import shutil
import uuid

import pytest

from kubectl_chrek.api import names
from kubectl_chrek.cluster.resources import DEPLOYMENTS, PODS


@pytest.fixture
def kubectl(lab):
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("there is no kubectl in PATH: run scripts/install-kubectl")

    async def run(*arguments):
        pipe = asyncio.subprocess.PIPE
        environment = os.environ | {"KUBECONFIG": str(lab.state / "kubeconfig"), "KUBECTL_KUBERC": "false"}
        command = [program, "-n", lab.cluster.namespace, *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()

    return run


async def deploy(lab, reference):
    """A Deployment of the probe, annotated."""
    name = f"plain-{uuid.uuid4().hex[:6]}"
    worker = lab.worker() | {"livenessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1}}
    template = {
        "metadata": {"labels": {"app": name}, "annotations": {names.ANNOTATION_RESTORE_FROM: reference}},
        "spec": {"containers": [worker], "terminationGracePeriodSeconds": 3},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    body = {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind, "metadata": {"name": name}, "spec": spec}
    await lab.cluster.create(DEPLOYMENTS, body)
    return name


def ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or [])


async def test_an_annotated_deployment_is_restored(lab, kubectl):
    name = await lab.prewarm("probe/annotated")
    checkpoint = await lab.settled(name)
    assert f"job.batch/checkpoint-{name}" in await kubectl("get", "jobs", "-l", "nvidia.com/checkpoint-source=true", "-o", "name")
    await kubectl("logs", f"job/checkpoint-{name}")

    await deploy(lab, name)
    first = await lab.ready_pod(name)
    assert lab.startup(first)["result"] == "restored"
    assert first["status"]["containerStatuses"][0]["restartCount"] == 0
    assert not first["spec"]["containers"][0].get("securityContext")
    environment = await kubectl("exec", first["metadata"]["name"], "--", "env")
    assert f"DYN_CHECKPOINT_HASH={checkpoint.hash}" in environment
    assert await kubectl("exec", first["metadata"]["name"], "--", "cat", "/etc/podinfo/pod_name") == first["metadata"]["name"]

    await deploy(lab, checkpoint.hash)
    second = await lab.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))
    assert lab.ask(first)["token"] == lab.ask(second)["token"]


async def test_one_that_asks_for_nothing_real_starts_as_it_is(lab):
    name = await deploy(lab, "no-such-checkpoint")
    pod = await lab.until(PODS, ready, f"app={name}")
    why = pod["metadata"]["annotations"][names.ANNOTATION_UNTOUCHED]
    assert why.startswith("there is no DynamoCheckpoint with name or hash no-such-checkpoint")
    assert lab.ask(pod)["token"]
