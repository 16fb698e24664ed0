"""Jobs, ReplicaSets, Deployments and the scheduler on the embedded API server; the test is the kubelet."""

import pytest

from kubectl_chrek.cluster.resources import DEPLOYMENTS, EVENTS, JOBS, NODES, PODS, REPLICA_SETS


@pytest.fixture
async def ready_node(controlled):
    await controlled.create(NODES, {"metadata": {"name": "n1", "labels": {"disk": "fast"}}})
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"conditions": conditions, "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "20"}}
    await controlled.patch(NODES, "n1", {"status": status}, subresource="status")
    return controlled


def template(policy, **spec):
    container = {"name": "main", "image": "localhost/host", "command": ["true"]}
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"restartPolicy": policy, "containers": [container]} | spec}


def job(name="j", **spec):
    return {"metadata": {"name": name}, "spec": {"template": template("Never")} | spec}


def deployment(replicas, env="1"):
    pod = template("Always")
    pod["spec"]["containers"][0]["env"] = [{"name": "V", "value": env}]
    return {"metadata": {"name": "d"}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": pod}}


async def until(cluster, resource, reached, name=""):
    async for event in cluster.watch(resource, fields=f"metadata.name={name}" if name else ""):
        if event.type in ("ADDED", "MODIFIED") and reached(event.object):
            return event.object
    return None


def holds(kind):
    return lambda found: any(
        one["type"] == kind and one["status"] == "True" for one in found.get("status", {}).get("conditions") or ()
    )


async def next_pod(cluster, seen=()):
    """A pod that was bound and is none of those."""
    return await until(cluster, PODS, lambda pod: pod["spec"].get("nodeName") and pod["metadata"]["uid"] not in seen)


async def finish(cluster, pod, phase):
    await cluster.patch(PODS, pod["metadata"]["name"], {"status": {"phase": phase}}, subresource="status")


async def make_ready(cluster, pod):
    conditions = [{"type": "Ready", "status": "True"}]
    await cluster.patch(
        PODS, pod["metadata"]["name"], {"status": {"phase": "Running", "conditions": conditions}}, subresource="status"
    )


async def test_a_job_completes_with_its_pod(ready_node):
    await ready_node.create(JOBS, job())
    pod = await next_pod(ready_node)
    assert pod["metadata"]["labels"]["job-name"] == "j"
    await finish(ready_node, pod, "Succeeded")
    found = await until(ready_node, JOBS, holds("Complete"))
    assert found["status"]["succeeded"] == 1
    assert holds("SuccessCriteriaMet")(found)


async def test_a_job_tries_again_until_its_limit(ready_node):
    await ready_node.create(JOBS, job(backoffLimit=1))
    first = await next_pod(ready_node)
    await finish(ready_node, first, "Failed")
    second = await next_pod(ready_node, {first["metadata"]["uid"]})
    await finish(ready_node, second, "Failed")
    found = await until(ready_node, JOBS, holds("Failed"))
    assert found["status"]["failed"] == 2
    assert {"BackoffLimitExceeded"} == {one["reason"] for one in found["status"]["conditions"]}


async def test_a_jobs_deadline_deletes_its_pod(ready_node):
    await ready_node.create(JOBS, job(activeDeadlineSeconds=1))
    pod = await next_pod(ready_node)
    await until(ready_node, PODS, lambda found: "deletionTimestamp" in found["metadata"])
    await ready_node.delete(PODS, pod["metadata"]["name"], grace_seconds=0)
    found = await until(ready_node, JOBS, holds("Failed"))
    assert found["status"]["conditions"][-1]["reason"] == "DeadlineExceeded"


async def test_a_finished_job_is_deleted_after_its_time(ready_node):
    await ready_node.create(JOBS, job(ttlSecondsAfterFinished=0))
    await finish(ready_node, await next_pod(ready_node), "Succeeded")
    async for event in ready_node.watch(JOBS):
        if event.type == "DELETED" or (event.type == "SYNCED" and not await ready_node.list(JOBS)):
            break
    assert await ready_node.list(JOBS) == []


async def test_a_deployment_becomes_available_and_rolls(ready_node):
    await ready_node.create(DEPLOYMENTS, deployment(1))
    first = await next_pod(ready_node)
    await make_ready(ready_node, first)
    found = await until(ready_node, DEPLOYMENTS, holds("Available"))
    assert found["status"]["readyReplicas"] == 1
    await ready_node.patch(DEPLOYMENTS, "d", {"spec": deployment(1, env="2")["spec"]})
    second = await next_pod(ready_node, {first["metadata"]["uid"]})
    assert "deletionTimestamp" not in (await ready_node.get(PODS, first["metadata"]["name"]))["metadata"]
    await make_ready(ready_node, second)
    await until(ready_node, PODS, lambda pod: "deletionTimestamp" in pod["metadata"], first["metadata"]["name"])
    done = "NewReplicaSetAvailable"
    await until(ready_node, DEPLOYMENTS, lambda one: one["status"]["observedGeneration"] == 2 and done in str(one["status"]))
    assert sorted(one["spec"]["replicas"] for one in await ready_node.list(REPLICA_SETS)) == [0, 1]


async def test_a_deployment_scales_and_replaces_what_is_deleted(ready_node):
    await ready_node.create(DEPLOYMENTS, deployment(2))
    await until(ready_node, DEPLOYMENTS, lambda found: found.get("status", {}).get("replicas") == 2)
    first, second = await ready_node.list(PODS)
    await ready_node.delete(PODS, first["metadata"]["name"], grace_seconds=0)
    third = await next_pod(ready_node, {one["metadata"]["uid"] for one in (first, second)})
    await ready_node.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 0}})
    await until(ready_node, PODS, lambda pod: "deletionTimestamp" in pod["metadata"], third["metadata"]["name"])


async def test_a_pod_that_fits_nowhere_is_told_why_and_bound_once_it_fits(ready_node):
    spec = template("Never")["spec"]
    spec["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    await ready_node.create(PODS, {"metadata": {"name": "gpu"}, "spec": spec})
    expected = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    await until(ready_node, PODS, lambda pod: expected in str(pod.get("status")))
    event = await until(ready_node, EVENTS, lambda found: found["reason"] == "FailedScheduling")
    assert event["message"] == expected
    await ready_node.patch(NODES, "n1", {"status": {"allocatable": {"nvidia.com/gpu": "1"}}}, subresource="status")
    await next_pod(ready_node)


async def test_a_pod_of_another_scheduler_is_left_alone(ready_node):
    await ready_node.create(PODS, {"metadata": {"name": "other"}, "spec": template("Never", schedulerName="mine")["spec"]})
    await ready_node.create(PODS, {"metadata": {"name": "ours"}, "spec": template("Never", nodeSelector={"disk": "fast"})["spec"]})
    assert (await next_pod(ready_node))["metadata"]["name"] == "ours"
    assert not (await ready_node.get(PODS, "other"))["spec"].get("nodeName")
