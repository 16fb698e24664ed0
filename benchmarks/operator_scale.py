"""What N DynamoCheckpoints cost the operator: one JSON object on standard output, no judgement.

Runs against the embedded API server in this process, through HTTP and TLS. Requests are counted by verb and resource.

    python benchmarks/operator_scale.py [--checkpoints 10000]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from chrek_operator.queueing import WorkQueue
from chrek_operator.reconciler import Key, Reconciler
from chrek_operator.resync import resync
from chrek_operator.routes import Routes
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, NAMESPACES
from kubectl_chrek.local.apiserver import ApiServer

Body = dict[str, Any]

NAMESPACE = "scale"
CREATORS = 16
PAGE = 500


class Counting:
    """A cluster that counts requests."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)
        if name not in ("get", "list", "create", "replace", "patch", "delete"):
            return method

        async def call(resource: Resource, *arguments: Any, **options: Any) -> Any:
            self.requests[f"{name} {resource.plural}"] += 1
            answer = await method(resource, *arguments, **options)
            if name == "list":
                self.requests[f"{name} {resource.plural}"] += max(0, -(-len(answer) // PAGE) - 1)
            return answer

        return call

    def taken(self) -> Body:
        """What was counted since the last time."""
        found, self.requests = dict(self.requests), Counter()
        return {"requests": sum(found.values()), "by_kind": found}


def checkpoint(number: int) -> Body:
    identity = {"model": f"m{number}", "backendFramework": "vllm"}
    worker = {"name": "main", "image": "registry.invalid/worker:1", "command": ["serve"]}
    job = {"podTemplateSpec": {"spec": {"containers": [worker]}}}
    return {
        "apiVersion": CHECKPOINTS.api_version,
        "kind": CHECKPOINTS.kind,
        "metadata": {"name": parse_identity(identity).hash},
        "spec": {"identity": identity, "job": job},
    }


async def timed(work: Coroutine[Any, Any, None]) -> Body:
    started, cpu = time.perf_counter(), time.process_time()
    await work
    return {"seconds": round(time.perf_counter() - started, 3), "cpu_seconds_with_server": round(time.process_time() - cpu, 3)}


async def one_by_one(reconciler: Reconciler, key: Key) -> None:
    while await reconciler.reconcile(key) == 0:
        pass


async def measure(count: int) -> Body:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            ApiServer.start(Path(directory), load_crds()) as server,
            Cluster.connect(kubeconfig=str(server.kubeconfig), namespace=NAMESPACE) as cluster,
        ):
            return await _measure(cluster, count)


async def _measure(cluster: Cluster, count: int) -> Body:
    counting: Any = Counting(cluster)
    settings = Settings(namespaces=(NAMESPACE,))
    reconciler = Reconciler(counting, settings)
    await cluster.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    result: Body = {"checkpoints": count}
    await one_life(counting, cluster, reconciler, result)
    await fill(cluster, count)
    routes = Routes()
    for name in ("first_resync", "resync"):
        queue = WorkQueue(reconciler.reconcile)
        counting.taken()
        result[name] = await timed(resync(counting, settings, routes, queue, NAMESPACE)) | counting.taken()
        result[name]["queued"] = len(queue)
    await one_change(counting, cluster, reconciler, routes, result)
    return result


async def one_life(counting: Any, cluster: Cluster, reconciler: Reconciler, result: Body) -> None:
    """From creation to Ready."""
    body = checkpoint(0)
    key = Key("checkpoint", NAMESPACE, body["metadata"]["name"])
    await cluster.create(CHECKPOINTS, body, NAMESPACE)
    counting.taken()
    result["created_to_creating"] = await timed(one_by_one(reconciler, key)) | counting.taken()
    await publish(cluster, key.name)
    result["artifact_to_ready"] = await timed(one_by_one(reconciler, key)) | counting.taken()


async def one_change(counting: Any, cluster: Cluster, reconciler: Reconciler, routes: Routes, result: Body) -> None:
    """The requests that follow what happens most often among all the others."""
    name = checkpoint(1)["metadata"]["name"]
    body = await cluster.get(CHECKPOINTS, name, NAMESPACE)
    for what, status in (
        ("restore_reported", {"restores": 1, "lastRestore": {"result": "restored"}}),
        ("artifact_lost", {"artifact": None, "failure": "ArtifactMissing: gone"}),
    ):
        body = await cluster.patch(CHECKPOINTS, name, {"status": status}, NAMESPACE, subresource="status")
        counting.taken()
        for key in routes.keys(CHECKPOINTS, body):
            await one_by_one(reconciler, key)
        result[what] = counting.taken()


async def publish(cluster: Cluster, name: str) -> None:
    status = {"artifact": {"generation": "g", "bytes": 1 << 30, "files": 100}}
    await cluster.patch(CHECKPOINTS, name, {"status": status}, NAMESPACE, subresource="status")


async def fill(cluster: Cluster, count: int) -> None:
    """The rest, Ready, as one reconcile after the other would have left them."""
    first = await cluster.get(CHECKPOINTS, checkpoint(0)["metadata"]["name"], NAMESPACE)
    numbers = iter(range(1, count))

    async def create() -> None:
        for number in numbers:
            body = checkpoint(number)
            name = body["metadata"]["name"]
            body["metadata"] |= {"finalizers": [names.FINALIZER], "labels": {names.LABEL_HASH: name}}
            await cluster.create(CHECKPOINTS, body, NAMESPACE)
            status = first["status"] | {"identityHash": name, "location": f"/checkpoints/{name}", "jobName": f"checkpoint-{name}"}
            await cluster.patch(CHECKPOINTS, name, {"status": status}, NAMESPACE, subresource="status")

    await asyncio.gather(*(create() for _ in range(CREATORS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=10_000)
    options = parser.parse_args()
    json.dump(asyncio.run(measure(options.checkpoints)), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
