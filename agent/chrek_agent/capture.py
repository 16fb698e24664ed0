"""From a Ready worker to a verified artifact. The worker is left stopped; the caller releases it once the artifact is published."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from chrek_agent.apart.saving import Saving
from chrek_agent.config import AgentConfig
from chrek_agent.container import acceptance, affinity, inspect, processes, recording, rootfs, stopped
from chrek_agent.container.discovery import Container
from chrek_agent.container.inventory import FILE as INVENTORY
from chrek_agent.container.inventory import Inventory, dump_inventory
from chrek_agent.container.thaw import thaw
from chrek_agent.criu.connections import settle_sockets
from chrek_agent.criu.runner import Criu
from chrek_agent.cuda import frozen as cuda
from chrek_agent.errors import CaptureError
from chrek_agent.journal import Record
from chrek_agent.memory.take import Take
from chrek_agent.node import facts
from chrek_agent.store.model import IMAGES, ROOTFS, SHM, Fields, Manifest, Owner, Source
from chrek_agent.store.store import Store, new_generation
from chrek_agent.store.writer import ArtifactWriter
from chrek_agent.telemetry.timing import Phases, boot_now
from kubectl_chrek.api.checkpoint import CapturedProcess, Checkpoint
from kubectl_chrek.api.compatibility import Compatibility

Report = Callable[[str, int, int], None]
"""Called with the step, bytes done and bytes expected (0: not known); from any thread."""

ABANDON_SECONDS: Final = 30.0

# Phases that are no steps of their own in the journal.
_STEPS: Final = {"plain": "dump", "gpu": "inspect"}


@dataclass(frozen=True, slots=True)
class Captured:
    """A committed and verified artifact."""

    manifest: Manifest
    digest: str
    seconds: float
    compatibility: Compatibility = field(default_factory=Compatibility)
    processes: list[CapturedProcess] = field(default_factory=list)
    inventory: Inventory = field(default_factory=Inventory)
    moved: dict[str, int] = field(default_factory=dict)
    """Bytes by phase, of those that move any."""


class Capture:
    """Captures workers of one node."""

    def __init__(self, config: AgentConfig, criu: Criu, store: Store) -> None:
        self._config = config
        self._criu = criu
        self._store = store
        self._gpus = cuda.Gpus(huge=config.huge_pages)

    async def run(
        self,
        pod: Mapping[str, Any],
        checkpoint: Checkpoint,
        container: Container,
        entry: Record,
        report: Report,
        *,
        cold_start: float,
        accepted: Mapping[str, Any] | None = None,
        apart: Saving | None = None,
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
            accepted: What `acceptance.prepare` found, for the restore.
            apart: What the worker has given up before; it becomes part of the artifact, or the caller abandons it.

        Raises:
            CaptureError: With the reason.
        """
        phases = Phases(lambda phase: entry.step(_STEPS.get(phase, phase)), self._config.capture_limits)
        generation = new_generation(datetime.now(UTC))
        with phases.phase("inspect"):
            worker = await asyncio.to_thread(inspect.find_worker, container)
            pipes = inspect.pipes(container)
            upper = rootfs.upper_directory(container)
            mounts = rootfs.mount_points(container)
            criu_version = await self._criu.version()
            record = await asyncio.to_thread(facts.of_source, criu_version, container, pod, worker)
            tree, halted = facts.tree(worker), stopped.among(worker)
        writer: ArtifactWriter | None = None
        stack = AsyncExitStack()
        try:
            with phases.phase("gpu") if self._gpus.present else nullcontext():
                frozen = await stack.enter_async_context(self._frozen(container, worker, halted, entry, report))
            expected = _resident(worker)  # With what was on the GPUs.
            record = facts.with_memory(record, _at_restore(expected, frozen, apart))
            writer = await self._take(container, worker, halted, generation, entry, phases, report, expected)
            worker = inspect.worker_tree(container)  # As it was frozen: it may have had other processes before.
            staging = writer.staging
            held = await asyncio.to_thread(_save_beside, container, worker, halted, staging, frozen, accepted or {})
            await asyncio.to_thread(settle_sockets, staging / IMAGES, keep_inner=self._config.keep_connections)
            report("root file system", expected, expected)
            with phases.phase("rootfs"):
                deleted, size = await asyncio.to_thread(_pack_files, container, worker, upper, mounts, staging)
                phases.moved("rootfs", size)
            report("commit", expected, expected)
            with phases.phase("commit"):
                await asyncio.to_thread(_add_all, writer, apart, phases)
                source = self._source(pod, container, worker, pipes)
                fields = _fields(checkpoint, source, record, deleted, round(cold_start, 3), phases.summary())
                manifest, digest = await asyncio.to_thread(writer.commit, fields)
            report("verify", expected, expected)
            with phases.phase("verify"):
                verified = partial(self._store.verify, manifest.identity_hash, generation, digest)
                await asyncio.to_thread(verified, _counted(phases, "verify"))
        except BaseException as error:
            thaw(container.init, halted)
            with suppress(TimeoutError):  # A store that hangs is tidied when it answers again, by the thread that waits for it.
                await asyncio.wait_for(asyncio.to_thread(self._abandon, checkpoint.hash, generation, writer), ABANDON_SECONDS)
            if isinstance(error, OSError):
                raise CaptureError(f"the store or the node refused: {error.strerror or error}") from error
            raise
        finally:
            await stack.aclose()
        summary = phases.summary()
        return Captured(
            manifest.model_copy(update={"phases": summary}), digest, round(phases.total, 3), record, tree, held, phases.bytes
        )

    def _frozen(
        self, container: Container, worker: list[processes.Process], halted: list[int], entry: Record, report: Report
    ) -> AbstractAsyncContextManager[cuda.Frozen]:
        """While it is entered, what the worker had on GPUs is in its host memory."""

        def told(done: int, count: int) -> None:
            report("gpu" if count == 1 else f"gpu {done} of {count}", 0, 0)

        return self._gpus.frozen_gpu(worker, partial(thaw, container.init, halted), entry.turned, told)

    async def _take(
        self,
        container: Container,
        worker: list[processes.Process],
        halted: list[int],
        generation: str,
        entry: Record,
        phases: Phases,
        report: Report,
        expected: int,
    ) -> ArtifactWriter:
        """Dumps the worker; its memory is then in the store, all else in the writer's staging."""
        work = self._config.work / generation
        entry.staged(work)
        work.mkdir(parents=True, mode=0o700)

        def begin() -> ArtifactWriter:
            entry.step("stage")
            entry.staged(self._store.scratch / generation)
            return self._store.begin(generation)

        take = Take(
            criu=self._criu,
            container=container,
            root=worker[0].inner,
            work=work,
            seconds=self._config.dump_seconds,
            started=entry.criu_started,
            resident=expected,
            progress=lambda done: report("memory", min(done, expected), expected),
            halted=halted,
        )
        report("dump", 0, expected)
        writer = await take.run(begin, phases)
        shutil.rmtree(work, ignore_errors=True)
        return writer

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

    def _abandon(self, identity_hash: str, generation: str, writer: ArtifactWriter | None) -> None:
        """Removes what a failed capture left, committed or not."""
        if writer is not None:
            writer.abandon()
            with suppress(OSError):
                self._store.delete(identity_hash, {generation})


def _fields(
    checkpoint: Checkpoint, source: Source, record: Compatibility, deleted: list[str], cold_start: float, phases: dict[str, float]
) -> Fields:
    metadata = checkpoint.metadata
    return Fields(
        identity_hash=checkpoint.hash,
        identity=checkpoint.identity.to_spec(),
        created_at=datetime.now(UTC),
        owner=Owner(namespace=metadata.namespace, name=metadata.name, uid=metadata.uid),
        source=source,
        compatibility=record.model_dump(mode="json", by_alias=True, exclude_none=True),
        deleted=deleted,
        cold_start_seconds=cold_start,
        phases=phases,
    )


def _save_beside(
    container: Container,
    worker: list[processes.Process],
    halted: list[int],
    staging: Path,
    frozen: cuda.Frozen,
    accepted: Mapping[str, Any],
) -> Inventory:
    """What a restore needs that CRIU's images do not hold, and what people will want to know; returns that."""
    affinity.save(container, worker, staging / IMAGES / affinity.FILE)
    cuda.save(frozen, staging / IMAGES / cuda.FILE)
    stopped.save(halted, staging / IMAGES / stopped.FILE)
    acceptance.save(accepted, staging / acceptance.FILE)
    held = recording.record(worker)
    (staging / INVENTORY).write_bytes(dump_inventory(held))
    return held


def _pack_files(
    container: Container, worker: list[processes.Process], upper: Path, mounts: list[str], staging: Path
) -> tuple[list[str], int]:
    """Copies the files of a worker that stands still; returns the paths that it has deleted, and the bytes of what was packed."""
    deleted = rootfs.pack_upper(upper, staging / ROOTFS, mounts)
    rootfs.pack_shm(container, staging / SHM)
    stopped.refuse_restless(worker)
    return deleted, sum(path.stat().st_size for path in (staging / ROOTFS, staging / SHM) if path.exists())


def _counted(phases: Phases, name: str) -> Callable[[int, int], None]:
    """Notes what a phase has read as it goes; it is told bytes done and in all, one call at a time."""
    before = 0

    def progress(done: int, _: int) -> None:
        nonlocal before
        phases.moved(name, done - before)
        before = done

    return progress


def _at_restore(resident: int, frozen: cuda.Frozen, apart: Saving | None) -> int:
    """Bytes of memory that a restore needs beyond what the worker holds by itself: for its GPUs', or what it loads itself."""
    if frozen.pids:
        return resident
    return resident + apart.bytes if apart is not None and apart.bytes else 0


def _add_all(writer: ArtifactWriter, apart: Saving | None, phases: Phases) -> None:
    """Everything in the staging directory becomes part of the artifact, and what the worker has given up before the first phase."""
    if apart is not None and apart.writer is not None:
        writer.join(apart.writer)
        apart.describe(writer.staging)
        phases.took("apart", apart.seconds)
        phases.moved("apart", apart.bytes)
    for path in sorted(path for path in writer.staging.rglob("*") if path.is_file()):
        writer.add_file(str(path.relative_to(writer.staging)), path)


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
        for task in Path(f"/proc/{process.pid}/task").glob("[0-9]*"):
            with suppress(OSError):
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("NSpid:"):
                        found.add(int(line.split()[-1]))
    return found


def seconds_since_start(container: Container) -> float:
    """How long the container's PID 1 has been there."""
    process = processes.read_process(container.init)
    return boot_now() - processes.started_at(process) if process else 0.0
