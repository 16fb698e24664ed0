"""A one-machine cluster: API server and controllers in process, and, where the machine can, a node."""

import asyncio
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass

import pytest

from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.local.apiserver import ApiServer
from kubectl_chrek.local.controllers import run_controllers
from kubectl_chrek.local.node import Node, NodeConfig

BACKOFF = 0.2


@dataclass(frozen=True, slots=True)
class Machine:
    cluster: Cluster
    server: ApiServer
    node: Node
    config: NodeConfig

    async def run(self, name, command, *, policy="Never", container=None, **spec):
        """Creates a pod with one container `main`."""
        main = {"name": "main", "image": "localhost/host:any", "command": command} | (container or {})
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}}
        body["spec"] = {"restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [main]} | spec
        return await self.cluster.create(PODS, body)

    async def until(self, name, reached):
        """The pod, as soon as `reached` says so of it."""
        async for event in self.cluster.watch(PODS, fields=f"metadata.name={name}"):
            if event.type in ("ADDED", "MODIFIED") and reached(event.object):
                return event.object
        return None

    async def phase(self, name, *wanted):
        return await self.until(name, lambda pod: pod.get("status", {}).get("phase") in wanted)

    async def exec(self, pod, *command):
        process = await self.node.exec("default", pod, "main", command)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def gone(self, name):
        async for event in self.cluster.watch(PODS, fields=f"metadata.name={name}"):
            if event.type == "DELETED" or (event.type == "SYNCED" and not await self.exists(name)):
                return

    async def exists(self, name):
        return any(pod["metadata"]["name"] == name for pod in await self.cluster.list(PODS))


@pytest.fixture
async def embedded(tmp_path):
    """An API server and a connection to it."""
    async with ApiServer.start(tmp_path) as server, Cluster.connect(kubeconfig=str(server.kubeconfig)) as cluster:
        yield server, cluster


@pytest.fixture
async def controlled(embedded):
    """A connection to an API server whose controllers run, without a node."""
    controllers = asyncio.create_task(run_controllers(embedded[1], backoff_seconds=BACKOFF))
    try:
        yield embedded[1]
    finally:
        controllers.cancel()
        with suppress(asyncio.CancelledError):
            await controllers


def why_not():
    if os.geteuid() != 0:
        return "needs root"
    missing = [package for program, package in {"runc": "runc", "ip": "iproute2"}.items() if shutil.which(program) is None]
    return f"needs apt-get install {' '.join(missing)}" if missing else ""


@pytest.fixture
def node_config(tmp_path):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    # A cgroup tree of its own, so that tests tell their groups from those of another cluster on this machine.
    parent = f"/chrek-test-{secrets.token_hex(4)}"
    return NodeConfig(state=tmp_path / "state", cgroup_parent=parent, backoff_seconds=BACKOFF, resources={"example.com/thing": "1"})


@pytest.fixture
async def machine(embedded, controlled, node_config):
    server, cluster = embedded
    async with Node.run(cluster, node_config) as node:
        server.logs, server.exec = node.logs, node.exec
        yield Machine(cluster, server, node, node_config)
