"""An operator that is killed at any await: its successor comes to the same end.

Nothing that it knows outlives it, so between two of its writes one moment to die is like another: it dies after each write.
"""

import asyncio

import pytest

from chrek_operator.reconciler import Key, Reconciler
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ConflictError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS, DEPLOYMENTS, EVENTS, GRAPHS, JOBS, NAMESPACES, PODS, POLICIES

pytestmark = pytest.mark.cluster

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
SHARDS = 3
GRAPH = [
    "configmaps/chrek-worker",
    "deployments/g-w",
    f"dynamocheckpoints/{HASH}",
    "dynamographdeployments/g",
    f"jobs/checkpoint-{HASH}",
]
CHAPTERS = [GRAPH, GRAPH, ["chrekretentionpolicies/p", "configmaps/chrek-worker"]]


class Killed(BaseException):
    """The operator is gone, just when the answer to its request would have come."""


class Mortal:
    """A cluster whose user is killed after its `limit`-th write; 0: never."""

    def __init__(self, cluster, limit=0):
        self._cluster = cluster
        self.left = limit
        self.count = 0

    def __getattr__(self, name):
        method = getattr(self._cluster, name)
        if name not in ("create", "replace", "patch", "delete"):
            return method

        async def call(*arguments, **options):
            self.count += 1
            answer = await method(*arguments, **options)
            self.left -= 1
            if self.left == 0:
                raise Killed
            return answer

        return call


class Story:
    """A graph makes a checkpoint, which becomes Ready, loses its graph, and is evicted by a policy."""

    mode = "own"

    def __init__(self, cluster, namespace, limit=0):
        self.cluster = cluster
        self.namespace = namespace
        self.mortal = Mortal(cluster, limit)

    async def tell(self):
        """What there is after each chapter."""
        await self.cluster.create(NAMESPACES, {"metadata": {"name": self.namespace}})
        block = {"enabled": True, "mode": "auto", "identity": IDENTITY}
        main = {"image": "registry.invalid/worker:1", "args": ["python3 -m dynamo.vllm"]}
        service = {"replicas": 0, "extraPodSpec": {"mainContainer": main}, "checkpoint": block}
        await self._create(GRAPHS, "g", {"services": {"W": service}})
        chapters = [await self._settle("graph", "checkpoint")]
        status = {"artifact": {"generation": "g1", "bytes": 1, "files": 1}}
        await self.cluster.patch(CHECKPOINTS, HASH, {"status": status}, self.namespace, subresource="status")
        chapters.append(await self._settle("checkpoint", "graph"))
        await self.cluster.delete(GRAPHS, "g", self.namespace)
        # A source that is still there would keep its checkpoint.
        await self.cluster.delete(JOBS, f"checkpoint-{HASH}", self.namespace)
        async with asyncio.timeout(60):
            while await self.cluster.list(DEPLOYMENTS, self.namespace) or await self.cluster.list(PODS, self.namespace):
                await asyncio.sleep(0.01)
        await self._create(POLICIES, "p", {"unreferenced": True, "gracePeriod": "0s"})
        await self._settle("policy", "checkpoint")
        # The agent has deleted the artifact.
        await self.cluster.patch(CHECKPOINTS, HASH, {"metadata": {"finalizers": None}}, self.namespace)
        chapters.append(await self._settle("policy", "checkpoint"))
        await self.cluster.delete(NAMESPACES, self.namespace)
        return chapters

    async def _create(self, resource, name, spec):
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
        await self.cluster.create(resource, body, self.namespace)

    async def _settle(self, *kinds):
        name = {"graph": "g", "checkpoint": HASH, "policy": "p"}
        reconciler, moved = self._operator(), True
        while moved:
            moved = False
            for kind in kinds:
                try:
                    before = self.mortal.count
                    again = await reconciler.reconcile(Key(kind, self.namespace, name[kind]))
                    # What was written is news, which an operator would be told of.
                    moved |= again == 0 or self.mortal.count > before
                except ConflictError:
                    moved = True
                except Killed:
                    reconciler, moved = self._operator(), True
        # The cluster's own collector deletes what belongs to a checkpoint, in its own time.
        return await self._state((CHECKPOINTS, CONFIG_MAPS, GRAPHS, POLICIES, *((JOBS, DEPLOYMENTS) if "graph" in kinds else ())))

    def _operator(self):
        return Reconciler(self.mortal, Settings(namespaces=(self.namespace,), mode=self.mode))

    async def _state(self, resources):
        kept = {}
        for resource in resources:
            for body in await self.cluster.list(resource, self.namespace):
                if not body["metadata"]["name"].endswith("ca.crt"):
                    kept[f"{resource.plural}/{body['metadata']['name']}"] = plain(body, resource)
        told = {event["reason"] for event in await self.cluster.list(EVENTS, self.namespace) if about_us(event)}
        # That it has made a checkpoint is the one thing that an operator which is killed right then never tells.
        return kept, sorted(told - {"CheckpointCreated"})


class PlatformStory(Story):
    """A pod of the platform waits for the checkpoint that is made from it, until that is Ready."""

    mode = "integrate"

    async def tell(self):
        await self.cluster.create(NAMESPACES, {"metadata": {"name": self.namespace}})
        block = {"enabled": True, "identity": IDENTITY, "startupPolicy": "WaitForCheckpoint"}
        worker = {"image": "registry.invalid/worker:1", "args": ["python3 -m dynamo.vllm"]}
        await self._create(GRAPHS, "g", {"services": {"W": {"extraPodSpec": {"mainContainer": worker}, "checkpoint": block}}})
        labels = {names.LABEL_GRAPH: "g", names.LABEL_COMPONENT: "W"}
        container = {"name": "main", "command": ["/bin/sh", "-c"], **worker}
        spec = {"containers": [container], "schedulerName": "nobody", "schedulingGates": [{"name": names.SCHEDULING_GATE}]}
        await self.cluster.create(PODS, {"metadata": {"name": "w", "labels": labels}, "spec": spec}, self.namespace)
        chapters = [await self._settle("graph", "checkpoint"), await self._gates()]
        status = {"artifact": {"generation": "g1", "bytes": 1, "files": 1}}
        await self.cluster.patch(CHECKPOINTS, HASH, {"status": status}, self.namespace, subresource="status")
        chapters += [await self._settle("checkpoint", "graph"), await self._gates()]
        # There is no agent to delete the artifact.
        await self.cluster.patch(CHECKPOINTS, HASH, {"metadata": {"finalizers": None}}, self.namespace)
        await self.cluster.delete(NAMESPACES, self.namespace)
        return chapters

    async def _gates(self):
        return len((await self.cluster.get(PODS, "w", self.namespace))["spec"].get("schedulingGates") or [])


def about_us(event):
    return event.get("source", {}).get("component") == names.OPERATOR


def plain(body, resource):
    """What remains of an object without what differs from one day, or one cluster, to the next."""
    metadata = {key: body["metadata"].get(key) for key in ("name", "labels", "finalizers")}
    owners = [(owner["kind"], owner["name"]) for owner in body["metadata"].get("ownerReferences") or ()]
    status = body.get("status") if resource in (CHECKPOINTS, GRAPHS, POLICIES) else None
    spec = {key: value for key, value in (body.get("spec") or {}).items() if key not in ("selector", "template")}
    return timeless({"metadata": metadata, "owners": owners, "spec": spec, "status": status})


def timeless(value):
    if isinstance(value, dict):
        gone = ("lastTransitionTime", "createdAt", "services", "message")
        return {key: timeless(found) for key, found in value.items() if key not in gone}
    return [timeless(found) for found in value] if isinstance(value, list) else value


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_whenever_it_is_killed_it_comes_to_the_same_end(cluster, namespace, shard):
    undisturbed = Story(cluster, f"{namespace}-{shard}")
    wanted = await undisturbed.tell()
    assert [sorted(state) for state, _ in wanted] == CHAPTERS
    assert wanted[-1][1] == ["CheckpointEvicted", "CheckpointExpired", "CheckpointReady"]
    assert undisturbed.mortal.count > 15
    for limit in range(1 + shard, undisturbed.mortal.count + 1, SHARDS):
        story = Story(cluster, f"{namespace}-{shard}-{limit}", limit)
        assert await story.tell() == wanted, f"killed after write {limit}"
        assert story.mortal.left <= 0


async def test_beside_the_platform_too(cluster, namespace):
    undisturbed = PlatformStory(cluster, f"{namespace}-p")
    wanted = await undisturbed.tell()
    assert [wanted[1], wanted[3]] == [1, 0]
    assert wanted[2][0]["dynamographdeployments/g"]["status"]["checkpoints"]["W"]["ready"]
    for limit in range(1, undisturbed.mortal.count + 1):
        story = PlatformStory(cluster, f"{namespace}-p-{limit}", limit)
        assert await story.tell() == wanted, f"killed after write {limit}"
        assert story.mortal.left <= 0
