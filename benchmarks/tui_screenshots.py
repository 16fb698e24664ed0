"""Pictures of the TUI for the documentation: `python benchmarks/tui_screenshots.py [DIRECTORY]`, by default docs/images.

The application is the real one, over a real API server of ours; what is in the cluster is what the TUI's tests put there.
"""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "tui"))

import conftest as samples

from kubectl_chrek.api import names
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, EVENTS, GRAPHS, NAMESPACES, PODS
from kubectl_chrek.local.apiserver import ApiServer
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.clusters import KubeconfigContexts

ROOT = Path(__file__).resolve().parents[1]
SIZE = (132, 34)
DETAIL = ("slash", *"llama", "enter", "enter")
PICTURES: dict[str, tuple[str, ...]] = {
    "checkpoints": ("S",),
    "overview": DETAIL,
    "timeline": (*DETAIL, "2"),
    "what-if": (*DETAIL, "e", "tab", "tab", "tab", "backspace", "2"),
    "compatibility": (*DETAIL, "8"),
    "artifact": (*DETAIL, "9"),
    "diff": ("g", "j", "space", "space", "x"),
    "delete": ("G", "ctrl+d"),
}
SCREENS = ("nodes", "graphs", "storage", "gc", "doctor", "prewarm")


async def fill(cluster: Cluster) -> None:
    """Two namespaces of checkpoints, nodes, a graph, pods and events."""
    await cluster.create(NAMESPACES, {"metadata": {"name": "research"}})
    for body in samples.sample_checkpoints():
        if body["metadata"]["name"] == "llama-3-8b":
            enrich(body["status"])
        await put(cluster, CHECKPOINTS, body)
    for body in samples.sample_nodes():
        await put(cluster, CHREK_NODES, body)
    for body in samples.sample_graphs():
        body["spec"]["services"].pop("Broken")
        await put(cluster, GRAPHS, body)
    for body in samples.sample_workers():
        body["metadata"].pop("ownerReferences", None)
        body["spec"]["containers"][0]["image"] = "vllm"
        await put(cluster, PODS, body)
    await put(cluster, EVENTS, samples.make_event("e1", names.Reason.CAPTURE_SUCCEEDED, "18Gi in 31.4s"))


def enrich(status: dict[str, Any]) -> None:
    """What an agent records besides."""
    artifact, restore = status["artifact"], status["lastRestore"]
    artifact["phases"] = {"inspect": 0.2, "gpu": 6.1, "dump": 0.9, "memory": 3.4, "rootfs": 0.3, "commit": 0.1, "verify": 3.5}
    artifact |= {"captureSeconds": 14.6, "phaseBytes": {"memory": 18 * 10**9, "rootfs": 2 * 10**8, "verify": 19 * 10**9}}
    restore["phases"] = {"wait": 0.1, "verify": 0.1, "skeleton": 0.2, "criu": 0.5, "fill": 2.9, "gpu": 2.1, "resume": 0.1}
    restore["phaseBytes"] = {"skeleton": 3 * 10**8, "fill": 18 * 10**9}
    gpus = [{"model": "H200", "memoryBytes": 143 * 2**30}]
    record = {"architecture": "x86_64", "cpuFeatures": [], "kernel": "6.8.0", "criu": "4.2.1", "driver": "580.95.05"}
    record |= {"cuda": "13.0", "gpus": gpus, "memoryBytes": 18 * 2**30}
    artifact["compatibility"] = record
    artifact["processes"] = [
        {"pid": 1, "name": "python3", "threads": 41, "bytes": 2 * 2**30},
        {"pid": 77, "name": "VLLM::EngineCore", "threads": 93, "bytes": 15 * 2**30},
    ]
    artifact |= {"storedBytes": 9 * 2**30, "uniqueBytes": 6 * 2**30, "sharedBytes": 5 * 2**30, "packs": 12}


async def put(cluster: Cluster, resource: Resource, given: dict[str, Any]) -> None:
    """Creates an object and then writes its status, as a server wants it."""
    body = {"apiVersion": resource.api_version, "kind": resource.kind} | deepcopy(given)
    namespace = body["metadata"].get("namespace", "default") if resource.namespaced else ""
    for field in ("uid", "creationTimestamp", "resourceVersion"):
        body["metadata"].pop(field, None)
    if resource is EVENTS:
        body["involvedObject"]["namespace"] = namespace
    await cluster.create(resource, body, namespace)
    if "status" in body:
        await cluster.patch(resource, body["metadata"]["name"], {"status": body["status"]}, namespace, subresource="status")


async def take(kubeconfig: Path, where: Path) -> None:
    """One run of the application for each picture."""
    async with AsyncExitStack() as stack:
        source = await KubeconfigContexts(ConnectionOptions(kubeconfig=str(kubeconfig)), stack).open("")
        for name, keys, command in [
            *((name, keys, "") for name, keys in PICTURES.items()),
            *((screen, (), screen) for screen in SCREENS),
        ]:
            app = ChrekApp(source, command=command)
            async with app.run_test(size=SIZE) as pilot:
                await settle(app, pilot)
                for key in keys:
                    await pilot.press(key)
                    await settle(app, pilot)
                path = where / f"tui-{name}.svg"
                path.write_text(app.export_screenshot(title=f"kubectl chrek {name}"))
                print(path)


async def settle(app: ChrekApp, pilot: Any) -> None:
    """Until answers are there and drawn; a picture may take its time."""
    for _ in range(3):
        await asyncio.sleep(0.15)
        while app.pace.pending:
            await pilot.pause()


async def main() -> None:
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    where.mkdir(parents=True, exist_ok=True)
    samples.NOW = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as directory:
        async with ApiServer.start(Path(directory), load_crds()) as server:
            async with Cluster.connect(kubeconfig=str(server.kubeconfig)) as cluster:
                await fill(cluster)
            await take(server.kubeconfig, where)


if __name__ == "__main__":
    asyncio.run(main())
