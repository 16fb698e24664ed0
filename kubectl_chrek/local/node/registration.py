"""The Node object: that there is such a node, what it has, and that it lives."""

import asyncio
import os
import platform
import time
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.api.names import GPU_RESOURCE
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import LEASES, NAMESPACES, NODES
from kubectl_chrek.local.clock import micro_timestamp, timestamp
from kubectl_chrek.local.node.config import NodeConfig
from kubectl_chrek.local.node.network import HOST

LEASE_NAMESPACE: Final = "kube-node-lease"
_HEALTHY: Final = {
    "MemoryPressure": ("False", "KubeletHasSufficientMemory", "the node has sufficient memory available"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure", "the node has no disk pressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID", "the node has sufficient PID available"),
    "Ready": ("True", "KubeletReady", "the node is posting ready status"),
}


def body(config: NodeConfig) -> dict[str, Any]:
    """The Node to create."""
    labels = {"kubernetes.io/hostname": config.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture()}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": config.name, "labels": labels}, "spec": {}}


def status(config: NodeConfig, now: float, before: dict[str, Any], *, ready: bool = True) -> dict[str, Any]:
    """The node's status; `before` is the last one."""
    found = capacity(config)
    return {
        "capacity": found,
        "allocatable": found,
        "addresses": [{"type": "InternalIP", "address": str(HOST)}, {"type": "Hostname", "address": config.name}],
        "conditions": _conditions(now, before, ready=ready),
        "nodeInfo": _info(),
    }


def capacity(config: NodeConfig) -> dict[str, str]:
    """What pods can ask for."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    gpus = {GPU_RESOURCE: str(config.gpus)} if config.gpus else {}
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": str(config.pods), **gpus, **config.resources}


async def register(cluster: Cluster, config: NodeConfig) -> None:
    """Makes the Node object, unless it is there, and says that it is Ready."""
    try:
        await cluster.create(NODES, body(config), "")
    except ConflictError:
        await cluster.patch(NODES, config.name, {"metadata": {"labels": body(config)["metadata"]["labels"]}}, "")
    await report(cluster, config, ready=True)


async def report(cluster: Cluster, config: NodeConfig, *, ready: bool) -> None:
    """Writes the node's status."""
    before = (await cluster.get(NODES, config.name, "")).get("status") or {}
    await cluster.patch(NODES, config.name, {"status": status(config, time.time(), before, ready=ready)}, "", subresource="status")


async def heartbeat(cluster: Cluster, config: NodeConfig) -> None:
    """Renews the node's lease until cancelled."""
    while True:
        try:
            await _renew(cluster, config)
        except NotFoundError:
            await _create(cluster, NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}, "")
            await _create(cluster, LEASES, _lease(config), LEASE_NAMESPACE)
        except ChrekError:
            # A server that is away for a moment is tried again at the next beat.
            await asyncio.sleep(0)
        await asyncio.sleep(config.heartbeat_seconds)


async def _renew(cluster: Cluster, config: NodeConfig) -> None:
    await cluster.patch(LEASES, config.name, {"spec": {"renewTime": micro_timestamp(time.time())}}, LEASE_NAMESPACE)


async def _create(cluster: Cluster, resource: Resource, wanted: dict[str, Any], namespace: str) -> None:
    try:
        await cluster.create(resource, wanted, namespace)
    except ChrekError:
        return


def _lease(config: NodeConfig) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": config.name, "namespace": LEASE_NAMESPACE},
        "spec": {
            "holderIdentity": config.name,
            "leaseDurationSeconds": int(config.heartbeat_seconds * 4),
            "renewTime": micro_timestamp(time.time()),
        },
    }


def _conditions(now: float, before: dict[str, Any], *, ready: bool) -> list[dict[str, Any]]:
    known = {condition["type"]: condition for condition in before.get("conditions") or ()}
    found = []
    for kind, (holds, reason, message) in _HEALTHY.items():
        if kind == "Ready" and not ready:
            holds, reason, message = "False", "KubeletNotReady", "the node was stopped"  # noqa: PLW2901 - the one exception
        same = known.get(kind, {}).get("status") == holds
        since = known[kind]["lastTransitionTime"] if same else timestamp(now)
        times = {"lastHeartbeatTime": timestamp(now), "lastTransitionTime": since}
        found.append({"type": kind, "status": holds, "reason": reason, "message": message, **times})
    return found


def _info() -> dict[str, str]:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return {
        "machineID": "",
        "systemUUID": "",
        "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "kernelVersion": platform.release(),
        "osImage": release.get("PRETTY_NAME", "Linux"),
        "containerRuntimeVersion": "containerd://2.1.0",
        "kubeletVersion": "v1.33.0",
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": _architecture(),
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
