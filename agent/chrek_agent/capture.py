"""From a Ready worker to a verified artifact. The worker is left stopped; the caller releases it once the artifact is published."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chrek_agent import inspect, processes, rootfs
from chrek_agent.config import AgentConfig
from chrek_agent.container import Container
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import CaptureError
from chrek_agent.journal import Record
from chrek_agent.store.digest import digest_tree
from chrek_agent.store.directory import DirectoryStore, new_generation
from chrek_agent.store.manifest import IMAGES, ROOTFS, SHM, Manifest, Owner, Source
from chrek_agent.timing import Phases, boot_now
from kubectl_chrek.api.checkpoint import Checkpoint

Report = Callable[[str, int, int], None]
"""Called with the step, bytes done and bytes expected (0: not known)."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A committed and verified artifact."""

    manifest: Manifest
    digest: str
    seconds: float


class Capture:
    """Captures workers of one node."""

    def __init__(self, config: AgentConfig, criu: Criu, store: DirectoryStore) -> None:
        self._config = config
        self._criu = criu
        self._store = store

    async def run(
        self,
        pod: Mapping[str, Any],
        checkpoint: Checkpoint,
        container: Container,
        entry: Record,
        report: Report,
        *,
        cold_start: float,
    ) -> Captured:
        """Captures the container for this checkpoint.

        On success the worker stands still. On any failure it runs on and nothing is left in the store.

        Args:
            pod: The source pod.
            checkpoint: What it is captured for.
            container: The pod's worker.
            entry: Its place in the journal; it must be kept until the worker is let go.
            report: Told of the progress.
            cold_start: Seconds that the worker took to become ready.

        Raises:
            CaptureError: With the reason.
        """
        phases = Phases()
        generation = new_generation(datetime.now(UTC))
        with phases.phase("inspect"):
            worker = inspect.find_worker(container)
            pipes = inspect.pipes(container)
            upper = rootfs.upper_directory(container)
            mounts = rootfs.mount_points(container)
            criu_version = await self._criu.version()
        staging = await self._stage(generation)
        try:
            entry.staged(staging)
            expected = _resident(worker)
            with phases.phase("dump"):
                await self._dump(container, worker[0].inner, staging, entry.criu_started, report, expected)
            report("root file system", expected, expected)
            with phases.phase("rootfs"):
                deleted = await asyncio.to_thread(rootfs.pack_upper, upper, staging / ROOTFS, mounts)
                await asyncio.to_thread(rootfs.pack_shm, container, staging / SHM)
            report("digests", expected, expected)
            with phases.phase("digest"):
                files = await asyncio.to_thread(digest_tree, staging)
            manifest = Manifest(
                identity_hash=checkpoint.hash,
                identity=checkpoint.identity.to_spec(),
                generation=generation,
                created_at=datetime.now(UTC),
                owner=Owner(namespace=checkpoint.metadata.namespace, name=checkpoint.metadata.name, uid=checkpoint.metadata.uid),
                source=self._source(pod, container, worker, pipes),
                platform=inspect.platform_facts(criu_version),
                deleted=deleted,
                files=files,
                cold_start_seconds=round(cold_start, 3),
                phases=phases.summary(),
            )
            report("commit", expected, expected)
            with phases.phase("commit"):
                digest = await asyncio.to_thread(self._store.commit, staging, manifest)
            report("verify", expected, expected)
            with phases.phase("verify"):
                await asyncio.to_thread(self._store.verify, manifest.identity_hash, generation, digest)
        except BaseException as error:
            processes.resume(container.init)
            await asyncio.to_thread(self._abandon, checkpoint.hash, generation, staging)
            if isinstance(error, OSError):
                raise CaptureError(f"the store or the node refused: {error.strerror or error}") from error
            raise
        summary = phases.summary()
        return Captured(manifest.model_copy(update={"phases": summary}), digest, round(phases.total, 3))

    async def _stage(self, generation: str) -> Path:
        try:
            return await asyncio.to_thread(self._store.stage, generation)
        except OSError as error:
            raise CaptureError(f"the store {self._store.base} cannot be written: {error.strerror or error}") from error

    async def _dump(
        self, container: Container, worker: int, staging: Path, started: Callable[[int], None], report: Report, expected: int
    ) -> None:
        work = self._config.work / staging.name
        work.mkdir(parents=True, mode=0o700)
        ticker = asyncio.create_task(_watch_size(staging / IMAGES, report, expected))
        try:
            seconds = self._config.dump_seconds
            await self._criu.dump(container, worker, staging / IMAGES, work, seconds=seconds, started=started)
        finally:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker
        shutil.rmtree(work, ignore_errors=True)

    def _source(
        self, pod: Mapping[str, Any], container: Container, worker: list[processes.Process], pipes: dict[int, str]
    ) -> Source:
        statuses = (pod.get("status") or {}).get("containerStatuses") or []
        status: dict[str, Any] = next((entry for entry in statuses if entry["name"] == container.name), {})
        return Source(
            node=self._config.node,
            pod=pod["metadata"]["name"],
            container=container.name,
            image=str(status.get("image", "")),
            image_id=str(status.get("imageID", "")),
            worker=worker[0].inner,
            pids=sorted(_all_ids(worker)),
            pipes=pipes,
        )

    def _abandon(self, identity_hash: str, generation: str, staging: Path) -> None:
        """Removes what a failed capture left, committed or not."""
        self._store.discard(staging)
        with suppress(OSError):
            self._store.delete(identity_hash, {generation})


async def _watch_size(images: Path, report: Report, expected: int) -> None:
    """Reports how much CRIU has written, twice a second."""
    while True:
        report("dump", min(_size(images), expected), expected)
        await asyncio.sleep(0.5)


def _size(images: Path) -> int:
    return sum(path.stat().st_size for path in images.iterdir())


def _resident(worker: list[processes.Process]) -> int:
    """Bytes of anonymous memory that the tree holds: about what a dump will write."""
    total = 0
    for process in worker:
        with suppress(OSError):
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    return total


def _all_ids(worker: list[processes.Process]) -> set[int]:
    """Every number that a restore needs to be free: processes and their threads, as the container counts them."""
    found: set[int] = set()
    for process in worker:
        found.add(process.inner)
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(OSError):
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("NSpid:"):
                        found.add(int(line.split()[-1]))
    return found


def seconds_since_start(container: Container) -> float:
    """How long the container's PID 1 has been there."""
    process = processes.read_process(container.init)
    return boot_now() - processes.started_at(process) if process else 0.0
