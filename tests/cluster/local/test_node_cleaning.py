"""The node leaves nothing on the machine: when it stops, when a pod goes, and after it was killed."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from kubectl_chrek.cluster.resources import NODES, PODS
from kubectl_chrek.local.node import Node, leftovers, network

pytestmark = pytest.mark.criu

KILLED = """
import asyncio, sys
from pathlib import Path
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.local.node import Node, NodeConfig

async def main():
    config = NodeConfig(state=Path(sys.argv[2]), cgroup_parent=sys.argv[3])
    async with Cluster.connect(kubeconfig=sys.argv[1]) as cluster, Node.run(cluster, config):
        await asyncio.Event().wait()

asyncio.run(main())
"""


def traces(config, uid):
    """Everything on the machine that belongs to the node or the pod."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(config.state) in line]
    groups = [path for path in Path("/sys/fs/cgroup").rglob("*") if config.cgroup_parent.lstrip("/") in path.parts]
    names = [path for path in (Path("/run/netns"), Path("/sys/class/net")) if (path / network.name_of(uid)).exists()]
    return mounts, groups, names, processes(config)


def processes(config):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                alive = "(zombie)" not in (entry / "status").read_text()
                if alive and config.cgroup_parent in (entry / "cgroup").read_text():
                    found.append(entry.name)
            except OSError:
                continue
    return found


async def test_a_stopped_node_leaves_nothing_and_says_so(embedded, controlled, node_config):
    _, cluster = embedded
    async with Node.run(cluster, node_config):
        volume = {"name": "mem", "emptyDir": {"medium": "Memory"}}
        main = {"name": "main", "image": "localhost/host", "command": ["sh", "-c", "sleep 1000 & sleep 1000"]}
        main["volumeMounts"] = [{"name": "mem", "mountPath": "/mem"}]
        body = {"metadata": {"name": "stays"}, "spec": {"containers": [main], "volumes": [volume]}}
        uid = (await cluster.create(PODS, body))["metadata"]["uid"]
        async for event in cluster.watch(PODS):
            if event.object.get("status", {}).get("phase") == "Running":
                break
        assert all(traces(node_config, uid))
    assert traces(node_config, uid) == ([], [], [], [])
    (node,) = await cluster.list(NODES)
    assert next(one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready") == "False"


async def test_a_deleted_pod_leaves_nothing(machine):
    pod = await machine.run("goes", ["sleep", "1000"])
    await machine.phase("goes", "Running")
    await machine.cluster.delete(PODS, "goes")
    await machine.gone("goes")
    assert not machine.config.pod_directory(pod["metadata"]["uid"]).exists()
    assert not processes(machine.config)
    assert not list(machine.config.snapshots.iterdir())


async def test_what_a_killed_node_left_is_cleaned(embedded, controlled, node_config):
    server, cluster = embedded
    argv = (sys.executable, "-c", KILLED, str(server.kubeconfig), str(node_config.state), node_config.cgroup_parent)
    process = await asyncio.create_subprocess_exec(*argv)
    body = {
        "metadata": {"name": "orphan"},
        "spec": {"containers": [{"name": "main", "image": "localhost/host", "command": ["sleep", "1000"]}]},
    }
    uid = (await cluster.create(PODS, body))["metadata"]["uid"]
    async for event in cluster.watch(PODS):
        if event.object.get("status", {}).get("phase") == "Running":
            break
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert all(traces(node_config, uid))
    await leftovers.clean(node_config)
    assert traces(node_config, uid) == ([], [], [], [])


async def test_the_layout_is_that_of_containerd_and_the_kubelet(machine):
    pod = await machine.run("lay", ["sleep", "1000"])
    pod = await machine.phase("lay", "Running")
    (status,) = pod["status"]["containerStatuses"]
    identifier, uid = status["containerID"].removeprefix("containerd://"), pod["metadata"]["uid"]
    bundle = machine.config.run_root / "io.containerd.runtime.v2.task" / "k8s.io" / identifier
    spec = json.loads((bundle / "config.json").read_text())
    assert spec["linux"]["cgroupsPath"] == f"{machine.config.cgroup_parent}/kubepods/besteffort/pod{uid}/{identifier}"
    assert os.path.ismount(bundle / "rootfs")
    init = (bundle / "init.pid").read_text()
    assert all(
        line.endswith(f"/kubepods/besteffort/pod{uid}/{identifier}")
        for line in Path(f"/proc/{init}/cgroup").read_text().splitlines()
    )
    assert (machine.config.log_root / "pods" / f"default_lay_{uid}" / "main" / "0.log").exists()
