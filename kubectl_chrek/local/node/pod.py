"""One pod on this node: network, volumes, containers, status, and its end."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError, ConflictError, NotFoundError
from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.local.clock import seconds
from kubectl_chrek.local.node import cgroups, launch, network, payload, volumes
from kubectl_chrek.local.node.commands import CommandError
from kubectl_chrek.local.node.container import ContainerLoop
from kubectl_chrek.local.node.context import Context, Services
from kubectl_chrek.local.node.status import Facts, compute

_RETRY_SECONDS: Final = 1.0


class PodWorker:
    """Brings one pod from bound to gone. `update` and `gone` tell it what the API server says."""

    def __init__(self, services: Services, pod: dict[str, Any]) -> None:
        self._dirty = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = False
        self._initialized = not pod["spec"].get("initContainers")
        self._failure: tuple[str, str] | None = None
        self._started = time.time()
        self._published: dict[str, Any] = {}
        self.context = Context(services, pod, self._dirty.set)
        self.inits = [ContainerLoop(self.context, spec, init=True) for spec in pod["spec"].get("initContainers") or ()]
        self.mains = [ContainerLoop(self.context, spec) for spec in pod["spec"]["containers"]]
        if self._initialized:
            for loop in self.mains:
                loop.view.state = {"waiting": {"reason": "ContainerCreating"}}

    def update(self, pod: dict[str, Any]) -> None:
        """The newest state of the object."""
        self.context.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def gone(self) -> None:
        """The object is no longer there, or the node stops: nothing of it may linger here. `run` returns soon after."""
        self._gone = True
        self.context.kill.set()
        self._deleted.set()

    async def run(self) -> None:
        """Returns when nothing of the pod is left on this node."""
        if self._is_over():
            await self._deleted.wait()
            await self._clean_up()
            await self._delete_object()
            return
        publisher = asyncio.create_task(self._publish_changes())
        self._dirty.set()
        life = asyncio.create_task(self._live())
        try:
            await self._until_over(life)
            await self._stop(life)
            await self._release()
            self._dirty.set()
            await self._deleted.wait()
        finally:
            publisher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publisher
        with contextlib.suppress(ChrekError):
            await self._publish()
        await self._clean_up()
        await self._delete_object()

    # -- below: the pod's life ---------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Returns when all containers have ended for good, or the pod stops."""
        if not await self._prepare():
            return
        for loop in self.inits:
            await loop.run()
            if self.context.stopping.is_set() or loop.view.exit_code != 0:
                return
        self._initialized = True
        self._dirty.set()
        await asyncio.gather(*(loop.run() for loop in self.mains))

    async def _prepare(self) -> bool:
        """Network and volumes; tries until it has them. False when the pod stops."""
        context = self.context
        while not context.stopping.is_set():
            try:
                if context.network is None and not context.pod["spec"].get("hostNetwork"):
                    context.network = await network.create(context.uid)
                launch.write_pod_files(context)
                objects = await context.fetch(payload.volume_references(context.pod))
                context.places = volumes.prepare(context.config, context.pod, objects, context.facts)
            except CommandError as error:
                context.record("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            except (ChrekError, OSError) as error:
                context.record("Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
            else:
                self._dirty.set()
                return True
            await context.pause(_RETRY_SECONDS)
        return False

    async def _until_over(self, life: asyncio.Task[None]) -> None:
        """Returns when the pod is deleted, its life is over or its time is."""
        deadline = self.context.pod["spec"].get("activeDeadlineSeconds")
        deleted = asyncio.create_task(self._deleted.wait())
        done, _ = await asyncio.wait({life, deleted}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        deleted.cancel()
        if not done:
            self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self.context.record("Normal", "DeadlineExceeded", self._failure[1])

    async def _stop(self, life: asyncio.Task[None]) -> None:
        self.context.stopping.set()
        metadata, spec = self.context.pod["metadata"], self.context.pod["spec"]
        default = spec.get("terminationGracePeriodSeconds", 30)
        grace = 0.0 if self._gone else float(metadata.get("deletionGracePeriodSeconds", default))
        await asyncio.gather(*(loop.stop(grace) for loop in (*self.inits, *self.mains)))
        await life

    async def _release(self) -> None:
        """Gives back what only running containers need."""
        context = self.context
        for loop in (*self.inits, *self.mains):
            context.services.gpus.give_back(f"{context.uid}/{loop.view.name}")
        if context.network:
            await network.remove(context.uid)
        cgroups.remove(context.config.cgroup_root, cgroups.pod_path(context.config, context.pod))

    async def _clean_up(self) -> None:
        await asyncio.to_thread(volumes.remove, self.context.config, self.context.uid)
        await asyncio.to_thread(shutil.rmtree, self.context.log_directory, ignore_errors=True)

    # -- below: what the API server hears ----------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """The pod ended in an earlier life of this node."""
        return (self.context.pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    async def _publish_changes(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._publish()
            except (NotFoundError, ConflictError):
                # The object is gone or replaced, and the watch will say so.
                continue
            except ChrekError:
                await asyncio.sleep(_RETRY_SECONDS)
                self._dirty.set()

    async def _publish(self) -> None:
        if self._gone:
            return
        context = self.context
        facts = Facts(
            now=time.time(),
            started=self._since(),
            host_ip=str(network.HOST),
            pod_ip=context.facts.pod_ip,
            sandbox=bool(context.facts.pod_ip),
            initialized=self._initialized,
            deleting=context.stopping.is_set(),
            failure=self._failure,
        )
        status = compute(context.pod, [loop.view for loop in self.inits], [loop.view for loop in self.mains], facts)
        if status == self._published:
            return
        metadata = context.pod["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
        pod = await context.services.cluster.patch(PODS, metadata["name"], patch, metadata["namespace"], subresource="status")
        context.pod["status"] = pod.get("status", status)
        self._published = status

    def _since(self) -> float:
        """When this node first saw the pod."""
        before = (self.context.pod.get("status") or {}).get("startTime")
        return seconds(before) if before else self._started

    async def _delete_object(self) -> None:
        if self._gone:
            return
        metadata: Mapping[str, Any] = self.context.pod["metadata"]
        with contextlib.suppress(NotFoundError, ConflictError):
            await self.context.services.cluster.delete(
                PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace_seconds=0
            )
