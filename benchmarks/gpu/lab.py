"""One worker at a time, captured and restored: plainly by CRIU and the driver's calls, and by the agent's own code."""

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ceilings
import container
from container import Box

from chrek_agent.apart.preparing import prepared
from chrek_agent.capture import Capture, Captured
from chrek_agent.config import AgentConfig
from chrek_agent.container import processes, rootfs
from chrek_agent.container.inspect import pipes
from chrek_agent.container.thaw import thaw, wake
from chrek_agent.criu.runner import Criu
from chrek_agent.cuda.detection import gpu_processes
from chrek_agent.cuda.driver import Bindings, Driver
from chrek_agent.journal import record
from chrek_agent.restore import Restore, Restored, wait_for_shim
from chrek_agent.store.model import APART
from chrek_agent.store.store import Store
from kubectl_chrek.api.checkpoint import Artifact, read_checkpoint

HASH = "5941a4cb3c363457"
LIMIT = 300.0
WORKER = Path(__file__).with_name("worker.py")
Row = dict[str, Any]
Note = Callable[[str, Any], None]
"""Keeps a result under a name."""


def bare_pod() -> Row:
    """A source pod that says nothing of its worker."""
    return {"metadata": {"name": "bench", "namespace": "bench"}, "spec": {}, "status": {}}


@dataclass
class Lab:
    """A directory for everything, and the driver, opened before anything is timed as in an agent that runs for long."""

    base: Path
    criu_root: Path
    huge_pages: bool = True
    driver: Driver = field(default_factory=Bindings)
    program: Path = WORKER
    """What runs in its containers."""
    pod: Row = field(default_factory=bare_pod)
    """What the agent is told of a source's pod."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.config = AgentConfig(
            node="bench",
            base_path=self.base / "store",
            state=self.base / "agent",
            criu_root=self.criu_root,
            huge_pages=self.huge_pages,
        )
        for path in (self.config.journal, self.config.work, self.config.base_path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.criu = Criu(self.criu_root)

    @property
    def store(self) -> Store:
        return Store.at(self.config.base_path)

    def like(self, name: str, *, huge_pages: bool) -> "Lab":
        """One with a store of its own."""
        return Lab(self.base / name, self.criu_root, huge_pages=huge_pages)

    def fresh(self, name: str) -> Path:
        path = self.base / f"{name}-{next(self._numbers)}"
        shutil.rmtree(path, ignore_errors=True)
        return path

    @contextlib.contextmanager
    def worker(self, *words: str, bare: bool = False) -> Iterator[tuple[Box, Row]]:
        """A started worker and its cold start; `bare`: as others start it, for `plain_capture`."""
        begin = time.time()
        with container.source(self.fresh("source"), self._command(words), bare=bare) as box:
            first = box.said_after(begin, LIMIT)
            yield box, {"seconds": first["at"] - begin, "said": first["said"]}

    @contextlib.contextmanager
    def target(self, *words: str) -> Iterator[Box]:
        with container.target(self.fresh("target"), self._command(words)) as box:
            yield box
        settle()

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [shutil.which("python3") or "python3", str(self.program), *words]

    def capture(self, box: Box) -> tuple[Captured, Row]:
        """By the agent's code; the worker then goes on."""
        before = box.state()
        begin = time.time()
        captured = asyncio.run(self._capture(box))
        seconds = time.time() - begin
        after = box.said_after(time.time(), LIMIT)
        assert after["said"] == before["said"], "the source has changed by its capture"
        phases = captured.manifest.phases
        row = {
            "seconds": seconds,
            "state": before,
            "committed": sum(seconds for name, seconds in phases.items() if name not in ("verify", "unaccounted")),
            "phases": phases,
            "bytes": captured.manifest.sizes.logical,
            "new_bytes": captured.manifest.sizes.stored,
            "runs": len(captured.manifest.memory),
            "memory_bytes": sum(run.length for run in captured.manifest.memory),
        }
        return captured, row

    def capture_apart(self, box: Box) -> tuple[Captured, Row]:
        """By the agent's code, of a worker that keeps its weights apart; it does not go on."""
        before = box.state()
        begin = time.time()
        captured = asyncio.run(self._capture(box, apart=True))
        manifest = captured.manifest
        return captured, {
            "seconds": time.time() - begin,
            "state": before,
            "phases": manifest.phases,
            "bytes": manifest.sizes.logical,
            "new_bytes": manifest.sizes.stored,
            "apart_bytes": sum(run.length for run in manifest.memory if run.kind == APART),
        }

    async def _capture(self, box: Box, *, apart: bool = False) -> Captured:
        spec = {"identity": {"model": "bench/random", "backendFramework": "vllm"}, "job": {"podTemplateSpec": {}}}
        metadata = {"name": "bench", "namespace": "bench", "uid": "uid-bench"}
        checkpoint = read_checkpoint({"metadata": metadata, "spec": spec, "status": {"phase": "Creating", "identityHash": HASH}})
        pod = self.pod
        work = Capture(self.config, self.criu, self.store)
        with record(self.config.journal, "capture", box.container) as entry:
            try:
                if not apart:
                    return await work.run(pod, checkpoint, box.container, entry, lambda *_: None, cold_start=0.0)
                async with prepared(box.container, pod, "", self.store, entry) as (accepted, saving):
                    words = {"cold_start": 0.0, "accepted": accepted, "apart": saving}
                    return await work.run(pod, checkpoint, box.container, entry, lambda *_: None, **words)
            finally:
                thaw(box.container.init)

    def restore(self, captured: Captured, expected: Row, *words: str) -> Row:
        """By the agent's code, verified, into a fresh container."""
        with self.target(*words) as box:
            begin = time.time()
            restored = asyncio.run(self.bring_back(box, captured))
            done = time.time()
            first = _first(box, begin, expected)
            row = {"seconds": first["at"] - begin, "agent": done - begin, "phases": restored.phases, "bytes": restored.moved}
            return row | {"after": huge_pages(box.worker().pid)}

    async def bring_back(self, box: Box, captured: Captured) -> Restored:
        """By the agent's code, verified, into a container that waits."""
        await wait_for_shim(box.container, seconds=20)
        artifact = Artifact(generation=captured.manifest.generation, digest=captured.digest)
        return await Restore(self.config, self.criu, self.store).run(
            "bench", captured.manifest.identity_hash, artifact, box.container, container.MARKER
        )

    def plain_capture(self, box: Box, images: Path) -> Row:
        """The driver's checkpoint and CRIU's dump; the worker then goes on."""
        images.mkdir()
        work = self.fresh("work")
        work.mkdir()
        worker = box.worker()
        users = [user for user in gpu_processes(processes.namespace_members(box.container.init)) if self.driver.holds(user.pid)]
        pids = [user.pid for user in users]
        begin = time.time()
        for pid in pids:
            self.driver.lock(pid, 60)
        for pid in pids:
            self.driver.checkpoint(pid)
        frozen = time.time()
        try:
            state = box.state()
            dump = self.criu.dump(box.container, worker.inner, images, work, seconds=LIMIT, started=lambda _: None)
            asyncio.run(dump)
            dumped = time.time()
        finally:
            thaw(box.container.init)
            self._give_back(pids)
        tar = images.with_suffix(".tar")
        rootfs.pack_upper(rootfs.upper_directory(box.container), tar, rootfs.mount_points(box.container))
        size = sum(path.stat().st_size for path in images.iterdir())
        row = {"seconds": dumped - begin, "phases": {"gpu": frozen - begin, "dump": dumped - frozen}, "bytes": size}
        return row | {"streams": pipes(box.container), "state": state, "users": [user.inner for user in users]}

    def plain_restore(self, images: Path, captured: Row, *words: str) -> Row:
        """CRIU's restore and the driver's, verified by nobody; its files are put there before the clock starts."""
        with self.target(*words) as box:
            work = self.fresh("work")
            work.mkdir()
            tars = [(images.with_suffix(".tar"), "/")]
            asyncio.run(rootfs.unpack(box.container, deleted=[], tars=tars, marker=""))
            begin = time.time()
            restore = self.criu.restore(box.container, images, work, captured["streams"], seconds=LIMIT, started=lambda _: None)
            asyncio.run(restore)
            criu = time.time()
            wake(box.container.init)
            here = {member.inner: member.pid for member in processes.namespace_members(box.container.init)}
            self._give_back([here[inner] for inner in captured["users"]])
            gpu = time.time()
            first = _first(box, begin, captured["state"])
            return {"seconds": first["at"] - begin, "phases": {"criu": criu - begin, "gpu": gpu - criu}}

    def _give_back(self, pids: Sequence[int]) -> None:
        """One after the other, as CRIU's own plugin does it."""
        for pid in pids:
            self.driver.restore(pid, {})
        for pid in pids:
            self.driver.unlock(pid)


def plain_source(lab: Lab, note: Note, images: Path, gib: float, *words: str) -> Row:
    """A worker of its own, as others start it, captured plainly; noted, and for `plain_restore`."""
    with lab.worker(*words, bare=True) as (box, _):
        ceilings.present(gib * 2.2)
        plainly = lab.plain_capture(box, images)
    note("plain_capture", plainly)
    return plainly


def _first(box: Box, begin: float, expected: Row) -> Row:
    """The first thing that a restored worker says: it goes on counting, and all of its memory is as it was."""
    first = box.said_after(begin, LIMIT)
    assert first["step"] > expected["step"], "it has started anew"
    assert first["said"] == expected["said"], f"the restored worker says {first['said']}, not {expected['said']}"
    return first


def settle() -> None:
    """Processes that were killed hold their memory for a while yet."""
    deadline = time.time() + 20
    last = 0
    while time.time() < deadline:
        free = available()
        if free - last < 256 << 20:
            return
        last = free
        time.sleep(0.3)


def available() -> int:
    """Bytes of memory that could be used."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no MemAvailable")


def huge_pages(pid: int) -> Row:
    """Resident memory and how much of it is on huge pages, in MiB."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Rss:", "AnonHugePages:")):
                found[line.partition(":")[0]] = int(line.split()[1]) // 1024
    return found
