"""From a verified artifact to a running worker in a fresh container."""

import asyncio
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chrek_agent.apart.serving import Serving
from chrek_agent.capture import seconds_since_start
from chrek_agent.config import AgentConfig
from chrek_agent.container import acceptance, affinity, control, inspect, processes, rootfs, stopped
from chrek_agent.container.discovery import Container
from chrek_agent.container.ending import end_half_restored
from chrek_agent.container.thaw import wake
from chrek_agent.criu.runner import Criu
from chrek_agent.cuda import frozen as cuda
from chrek_agent.errors import RestoreError
from chrek_agent.journal import Record, record
from chrek_agent.memory.fill import FillError
from chrek_agent.memory.put import Put, Rest
from chrek_agent.store import artifact as stored
from chrek_agent.store.model import IMAGES, ROOTFS, SHM, Manifest
from chrek_agent.store.store import Store
from chrek_agent.telemetry.timing import Phases
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Artifact
from kubectl_chrek.api.compatibility import Compatibility

_TURN_SECONDS: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Restored:
    """A worker that runs again; `seconds` is from the start of its container to the end of the restore."""

    pid: int
    seconds: float
    phases: dict[str, float]
    moved: dict[str, int] = field(default_factory=dict)
    """Bytes by phase, of those that move any."""


class Restore:
    """Restores workers on one node."""

    def __init__(self, config: AgentConfig, criu: Criu, store: Store) -> None:
        # Its steps wait for the interpreter's lock at most this long, whatever other threads of ours compute beside them.
        sys.setswitchinterval(_TURN_SECONDS)
        self._config = config
        self._criu = criu
        self._store = store
        self._gpus = cuda.Gpus()

    async def record(self, identity_hash: str, artifact: Artifact) -> Compatibility:
        """What the capture depends on: from the status or, where that does not say, from the manifest. Raises ArtifactError."""
        if artifact.compatibility.architecture is not None:
            return artifact.compatibility
        found = await asyncio.to_thread(self._store.open, identity_hash, artifact.generation, artifact.digest)
        with found:
            return Compatibility.model_validate(found.manifest.compatibility)

    async def run(
        self,
        name: str,
        identity_hash: str,
        artifact: Artifact,
        container: Container,
        marker: str,
        *,
        namespace: str = "",
        check: bool = True,
    ) -> Restored:
        """Restores the artifact into a container whose shim waits.

        Either the worker runs and the outcome says so, or nothing of it is left and the outcome is still open.

        Args:
            name: The checkpoint's name, for the claim.
            identity_hash: Its hash.
            artifact: From its status.
            container: Where to.
            marker: File that tells a Dynamo worker that it was restored.
            namespace: Of the pod; another one's artifact is refused, whatever the status says. Empty: any.
            check: Whether it must answer as it did before its capture.

        Raises:
            ArtifactError: What is stored is not what was captured.
            RestoreError: Anything else, with the reason.
        """
        phases = Phases(limits=self._config.restore_limits)
        waited = seconds_since_start(container)
        with phases.phase("verify"):
            control.write(container, control.CLAIM, {"checkpoint": name})
            found = await asyncio.to_thread(self._store.open, identity_hash, artifact.generation, artifact.digest)
        with found:
            _check_owner(found.manifest, namespace)
            inspect.check_target(container, found.manifest)
            work = self._config.work / f"restore-{container.id[:12]}"
            with record(self._config.journal, "restore", container) as entry:
                skeleton = work / "artifact"
                try:
                    entry.staged(work)
                    shutil.rmtree(work, ignore_errors=True)
                    work.mkdir(parents=True, mode=0o700)
                    async with Serving(container, found, self._gpus.place) as apart:
                        worker = await self._run(found, container, marker, skeleton, entry, apart, phases)
                        await self._accept(container, skeleton, worker, apart, phases, check=check)
                    entry.step("wake")
                    wake(container.init, stopped.load(skeleton / IMAGES / stopped.FILE))
                except BaseException as error:
                    end_half_restored(container)
                    if isinstance(error, OSError):
                        raise RestoreError(f"the node refused: {error.strerror or error}") from error
                    raise
                finally:
                    shutil.rmtree(skeleton, ignore_errors=True)
            shutil.rmtree(work, ignore_errors=True)
        return Restored(worker.inner, round(waited + phases.total, 3), {"wait": round(waited, 3)} | phases.summary(), phases.bytes)

    async def _run(
        self,
        found: stored.Artifact,
        container: Container,
        marker: str,
        skeleton: Path,
        entry: Record,
        apart: Serving,
        phases: Phases,
    ) -> processes.Process:
        """Restores it, stopped; returns the worker."""
        manifest = found.manifest
        entry.step("skeleton")
        with phases.phase("skeleton"):
            await asyncio.to_thread(_materialise, found, skeleton)
            phases.moved("skeleton", sum(blob.size for blob in manifest.files.values()))
        entry.step("rootfs")
        with phases.phase("rootfs"):
            tars = [(skeleton / ROOTFS, "/"), (skeleton / SHM, "/dev/shm")]  # noqa: S108 - the container's
            await rootfs.unpack(container, deleted=manifest.deleted, tars=tars, marker=marker)
        # Not before: until now all threads of this process have work to do, and from here on CRIU and the driver have it.
        apart.verify()
        put = Put(
            criu=self._criu,
            container=container,
            artifact=found,
            images=skeleton / IMAGES,
            work=skeleton.parent,
            seconds=self._config.restore_seconds,
            started=entry.criu_started,
            step=entry.step,
            end=lambda: end_half_restored(container),
        )
        frozen = cuda.load(skeleton / IMAGES / cuda.FILE)
        # A driver that copies fast would only wait for what comes late, on small pages.
        rest = await put.run(manifest.source.pipes, phases, late=() if frozen.shared else frozen.pids)
        entry.step("resume")
        if frozen.pids:
            await self._thaw(frozen, container, put, rest, phases, manifest)
        with phases.phase("resume"):
            worker = _check_tree(container, manifest)
            affinity.put_back(container, skeleton / IMAGES / affinity.FILE)
        return worker

    async def _thaw(
        self, frozen: cuda.Frozen, container: Container, put: Put, rest: Rest | None, phases: Phases, manifest: Manifest
    ) -> None:
        """Gives the worker its GPUs, while the rest of its memory comes."""

        async def thaw() -> None:
            await self._gpus.thaw_gpu(frozen, processes.namespace_members(container.init))

        if rest is not None:
            try:
                with phases.phase("gpu"):
                    async with rest:
                        await thaw()
                    phases.moved("gpu", rest.length)
                return
            except FillError as error:
                await put.again(manifest.source.pipes, phases, None, error)
        with phases.phase("gpu"):
            await thaw()

    async def _accept(
        self, container: Container, skeleton: Path, worker: processes.Process, apart: Serving, phases: Phases, *, check: bool
    ) -> None:
        """Decides the outcome: of a worker that has something to show, once it has shown it, and runs already."""
        record = acceptance.load(skeleton / acceptance.FILE)
        if record:
            halted = stopped.load(skeleton / IMAGES / stopped.FILE)
            await apart.accept(record, lambda: wake(container.init, halted), phases, check=check)
        if not control.decide(container, {"result": "restored", "pid": worker.inner}):
            raise RestoreError("the shim's deadline passed first")


def _materialise(found: stored.Artifact, skeleton: Path) -> None:
    skeleton.mkdir(mode=0o700)
    found.materialise(skeleton)


def _check_owner(manifest: Manifest, namespace: str) -> None:
    """Who may write a checkpoint's status in one namespace must not read another's memory by it."""
    if namespace and manifest.owner.namespace != namespace:
        raise RestoreError(f"artifact {manifest.generation} belongs to another namespace: import it into {namespace}")


def _check_tree(container: Container, manifest: Manifest) -> processes.Process:
    """All captured processes are there, under the shim; returns the root."""
    members = processes.namespace_members(container.init)
    worker = next((process for process in members if process.inner == manifest.source.worker), None)
    if worker is None or worker.parent != container.init:
        raise RestoreError("CRIU reported success, but the worker is not there")
    return worker


def marker_file(pod: Mapping[str, Any], container: str) -> str:
    """The restore marker that the worker's environment names."""
    for spec in pod["spec"]["containers"]:
        if spec["name"] == container:
            for variable in spec.get("env") or []:
                if variable["name"] == names.ENV_MARKER_FILE:
                    return str(variable.get("value", ""))
    return ""


async def wait_for_shim(container: Container, *, seconds: float) -> None:
    """Waits until the container's shim says that a restore may begin.

    Raises:
        RestoreError: It does not.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        waiting = control.read(container, control.WAITING)
        # The file may be an earlier container's: the directory belongs to the pod.
        if waiting is not None and waiting.get("start") == container.init_start:
            return
        await asyncio.sleep(0.01)
    raise RestoreError("the shim did not start")
