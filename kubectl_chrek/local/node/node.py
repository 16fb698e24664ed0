"""The node: takes the pods bound to it, and answers for their logs and commands."""

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.events import Recorder
from kubectl_chrek.local.node import leftovers, orphans, registration, runtime, security, snapshots
from kubectl_chrek.local.node.config import NodeConfig
from kubectl_chrek.local.node.container import ContainerLoop
from kubectl_chrek.local.node.context import Services
from kubectl_chrek.local.node.devices import Gpus
from kubectl_chrek.local.node.logs import read
from kubectl_chrek.local.node.pod import PodWorker
from kubectl_chrek.local.node.runtime import Runtime

_LOG: Final = logging.getLogger(__name__)
_RETRY_SECONDS: Final = 1.0
MIRROR: Final = "kubernetes.io/config.mirror"
"""Annotation of a pod that stands for something that the node does not run: it leaves such a pod alone."""
_PROGRAMS: Final = {"runc": "runc", "ip": "iproute2"}


class Node:
    """A running node. `logs` and `exec` are the hooks an API server asks for a pod's log and commands."""

    def __init__(self, cluster: Cluster, services: Services) -> None:
        self._cluster = cluster
        self._services = services
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @classmethod
    @asynccontextmanager
    async def run(cls, cluster: Cluster, config: NodeConfig) -> AsyncIterator["Node"]:
        """A node that runs pods until the block is left; then nothing of it is left on the machine but `config.state`.

        Raises:
            ChrekError: This machine cannot run containers: not root, no runc, no overlayfs.
        """
        check_machine()
        await leftovers.clean(config)
        snapshots.prepare(config)
        runtime.adopt_orphans(on=True)
        try:
            async with Recorder.start(cluster, "kubelet", config.name) as recorder:
                services = Services(cluster, config, Runtime(config), recorder, Gpus(config), security.permitted())
                node = cls(cluster, services)
                await registration.register(cluster, config)
                watching = [asyncio.create_task(node._watch()), asyncio.create_task(registration.heartbeat(cluster, config))]
                burying = asyncio.create_task(orphans.bury())
                try:
                    yield node
                finally:
                    await node._stop(watching)
                    burying.cancel()
        finally:
            runtime.adopt_orphans(on=False)
            await leftovers.clean(config)

    async def logs(
        self,
        namespace: str,
        pod: Mapping[str, Any],
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
        since_seconds: float | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """A container's log; ApiError (400) before the first piece when it has none yet."""
        worker, loop = self._find(pod, container)
        path = loop.log_file(previous=previous)
        if path is None:
            name = worker.context.pod["metadata"]["name"]
            if previous:
                raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
            reason = loop.view.state.get("waiting", {}).get("reason", "ContainerCreating")
            raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
        since = time.time() - since_seconds if since_seconds is not None else None
        current = None if previous else loop.log
        async for piece in read(path, current, follow=follow, tail=tail, since=since, timestamps=timestamps):
            yield piece

    async def exec(
        self, namespace: str, pod: Mapping[str, Any], container: str, command: Sequence[str]
    ) -> asyncio.subprocess.Process:
        """Starts a command in a container, with three pipes; to kill the process ends it. ApiError (400) when there is none."""
        _, loop = self._find(pod, container)
        if not loop.running_id:
            raise bad_request(f"container {container} in pod {namespace}/{pod['metadata']['name']} is not running")
        return await self._services.runtime.open(loop.running_id, command)

    def _find(self, pod: Mapping[str, Any], container: str) -> tuple[PodWorker, ContainerLoop]:
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is None:
            raise bad_request(f'pod "{pod["metadata"]["name"]}" is not on node {self._services.config.name}')
        for loop in (*worker.mains, *worker.inits):
            if loop.view.name == container:
                return worker, loop
        raise bad_request(f"container {container} is not valid for pod {pod['metadata']['name']}")

    # -- below: pods come and go -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            # The watch ends only when a list fails: the server is away for a moment.
            with contextlib.suppress(ChrekError):
                async for event in self._cluster.watch(PODS, "", fields=f"spec.nodeName={self._services.config.name}"):
                    if event.type == "DELETED":
                        self._forget(event.object)
                    elif event.type != "SYNCED":
                        self._take(event.object)
            await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            return
        if uid not in self._workers:
            worker = self._workers[uid] = PodWorker(self._services, {"apiVersion": "v1", "kind": "Pod"} | pod)
            self._tasks[uid] = asyncio.create_task(self._work(uid, worker))
        self._workers[uid].update({"apiVersion": "v1", "kind": "Pod"} | pod)

    def _forget(self, pod: Mapping[str, Any]) -> None:
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            worker.gone()

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:
            # One pod that breaks the node's expectations must not take the others down.
            _LOG.exception("pod %s", worker.context.pod["metadata"]["name"])
        finally:
            del self._workers[uid], self._tasks[uid]

    async def _stop(self, watching: Sequence[asyncio.Task[None]]) -> None:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for worker in self._workers.values():
            worker.gone()
        await asyncio.gather(*self._tasks.values())
        with contextlib.suppress(ChrekError):
            await registration.report(self._cluster, self._services.config, ready=False)


def check_machine() -> None:
    """Raises ChrekError when this machine cannot run containers, with what to do about it."""
    if os.geteuid() != 0:
        raise ChrekError("running containers needs root", hint="run it with sudo")
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            raise ChrekError(f"running containers needs {program}, which is not installed", hint=f"install the package {package}")
