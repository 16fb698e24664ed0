"""From a verified artifact to a running worker in a fresh container."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chrek_agent import control, inspect, processes, rootfs
from chrek_agent.capture import seconds_since_start
from chrek_agent.config import AgentConfig
from chrek_agent.container import Container
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import AgentError, RestoreError
from chrek_agent.journal import record
from chrek_agent.store.digest import verify_tree
from chrek_agent.store.directory import DirectoryStore
from chrek_agent.store.manifest import IMAGES, ROOTFS, SHM, Manifest
from chrek_agent.timing import Phases
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Artifact


@dataclass(frozen=True, slots=True)
class Restored:
    """A worker that runs again; `seconds` is from the start of its container to the end of the restore."""

    pid: int
    seconds: float
    phases: dict[str, float]


class Restore:
    """Restores workers on one node."""

    def __init__(self, config: AgentConfig, criu: Criu, store: DirectoryStore) -> None:
        self._config = config
        self._criu = criu
        self._store = store

    async def run(self, name: str, identity_hash: str, artifact: Artifact, container: Container, marker: str) -> Restored:
        """Restores the artifact into a container whose shim waits.

        Either the worker runs and the outcome says so, or nothing of it is left and the outcome is still open.

        Args:
            name: The checkpoint's name, for the claim.
            identity_hash: Its hash.
            artifact: From its status.
            container: Where to.
            marker: File that tells a Dynamo worker that it was restored.

        Raises:
            ArtifactError: What is stored is not what was captured.
            RestoreError: Anything else, with the reason.
        """
        phases = Phases()
        waited = seconds_since_start(container)
        with phases.phase("verify"):
            control.write(container, control.CLAIM, {"checkpoint": name})
            directory, manifest = await asyncio.to_thread(self._store.open, identity_hash, artifact.generation, artifact.digest)
            inspect.check_target(container, manifest)
            await asyncio.to_thread(verify_tree, directory, manifest)
        work = self._config.work / f"restore-{container.id[:12]}"
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        with record(self._config.journal, "restore", container) as entry:
            try:
                with phases.phase("rootfs"):
                    tars = [(directory / ROOTFS, "/"), (directory / SHM, "/dev/shm")]  # noqa: S108 - the container's
                    await rootfs.unpack(container, deleted=manifest.deleted, tars=tars, marker=marker)
                with phases.phase("criu"):
                    await self._criu.restore(
                        container,
                        directory / IMAGES,
                        work,
                        manifest.source.pipes,
                        seconds=self._config.restore_seconds,
                        started=entry.criu_started,
                    )
                with phases.phase("resume"):
                    worker = _check_tree(container, manifest)
                    if not control.decide(container, {"result": "restored", "pid": worker.inner}):
                        raise RestoreError("the shim's deadline passed first")
                    processes.resume(container.init)
            except BaseException as error:
                _end(container)
                if isinstance(error, OSError):
                    raise RestoreError(f"the node refused: {error.strerror or error}") from error
                raise
        shutil.rmtree(work, ignore_errors=True)
        return Restored(worker.inner, round(waited + phases.total, 3), {"wait": round(waited, 3)} | phases.summary())


def _end(container: Container) -> None:
    """Ends what is half restored."""
    members = processes.namespace_members(container.init)
    try:
        decided = control.read(container, control.OUTCOME) is not None
    except AgentError:
        decided = False
    processes.kill_restored(container.init, members, shim_decided=decided)


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
