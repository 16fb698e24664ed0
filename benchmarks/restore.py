"""Restore and capture of CPU workers, ours and plain CRIU, interleaved: `restore.py [--sizes MIB,...] [--runs N] [--json FILE]`.

Plain is `criu dump` and `criu restore`, verified by nobody; ours checks every byte. After each run the worker checks its memory.
A virtual machine may have to fetch free memory from its host first: before each restore as much as it needs is touched and freed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.container.thaw import thaw, wake
from chrek_agent.criu.runner import Criu
from chrek_agent.memory.put import Put
from chrek_agent.memory.take import Take
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.model import IMAGES, Fields, Owner, Source
from chrek_agent.store.store import Store
from chrek_agent.telemetry.timing import Phases
from kubectl_chrek.local.cluster import CRIU_ROOT

WORKER = Path(__file__).with_name("restore_worker.py")
INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print('ready', flush=True)\nwhile True: signal.pause()"
TOUCH = "import ctypes, mmap, sys; n = int(sys.argv[1]); m = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
TOUCH += "m.madvise(mmap.MADV_HUGEPAGE); ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(m)), 1, n)"
LIMIT = 900.0
HASH = "0" * 16


@dataclass
class Bench:
    """One worker in a PID namespace of its own, its plain images and its artifact."""

    mib: int
    base: Path
    criu: Criu
    container: Container
    worker: processes.Process
    artifact: tuple[str, str] = ("", "")

    @property
    def sums(self) -> Path:
        return self.base / "sums"

    @property
    def store(self) -> Store:
        return Store.at(self.base / "store")

    def member(self) -> processes.Process | None:
        members = processes.namespace_members(self.container.init)
        return next((process for process in members if process.inner == self.worker.inner and process.state != "Z"), None)

    def check(self) -> None:
        """The worker finds its memory as it was; raises AssertionError if not."""
        count = len(self.sums.read_text().split())
        os.kill(self.member().pid, signal.SIGUSR1)
        wait(lambda: len(self.sums.read_text().split()) > count and self.sums.read_text().endswith("\n"))
        first, *_, last = self.sums.read_text().split()
        assert first == last, "the restored memory is not what was captured"

    def end(self) -> None:
        os.kill(self.member().pid, signal.SIGKILL)
        wait(lambda: self.member() is None)

    async def plain_dump(self) -> dict[str, object]:
        images = fresh(self.base / "plain")
        with measured() as row:
            await self.criu.dump(self.container, self.worker.inner, images, fresh(self.base / "w"), seconds=LIMIT, started=ignore)
        thaw(self.container.init)
        begin = time.monotonic()
        with (images / "pages-1.img").open("rb") as file:
            os.fsync(file.fileno())
        return row | {"durable": round(row["seconds"] + time.monotonic() - begin, 3)}

    async def capture(self, number: int) -> dict[str, object]:
        """Dumps into the store and commits; each into a store of its own, so that nothing is there yet."""
        shutil.rmtree(self.base / "store", ignore_errors=True)
        generation, phases, store = f"g{number}", Phases(), self.store
        with measured() as row:
            take = Take(
                criu=self.criu,
                container=self.container,
                root=self.worker.inner,
                work=fresh(self.base / "w"),
                seconds=LIMIT,
                started=ignore,
                resident=self.mib << 20,
                progress=ignore,
            )
            writer = await take.run(lambda: store.begin(generation), phases)
            row["stored"] = round(time.monotonic() - row["begin"], 3)
            for path in sorted((writer.staging / IMAGES).iterdir()):
                writer.add_file(f"{IMAGES}/{path.name}", path)
            _, digest = await asyncio.to_thread(writer.commit, self.fields())
        self.artifact = generation, digest
        return row | {"durable": row["seconds"], "phases": phases.summary()}

    def fields(self) -> Fields:
        pids = [self.worker.inner]
        return Fields(
            identity_hash=HASH,
            identity={},
            created_at=datetime.now(UTC),
            owner=Owner(namespace="bench", name="bench", uid="bench"),
            source=Source(node="", pod="", container="", image="", image_id="", worker=pids[0], pids=pids, pipes={}),
            compatibility={},
            deleted=[],
        )

    async def plain_restore(self) -> dict[str, object]:
        with measured() as row:
            work = fresh(self.base / "w")
            await self.criu.restore(self.container, self.base / "plain", work, {}, seconds=LIMIT, started=ignore)
            wake(self.container.init)
        return row

    async def restore(self) -> dict[str, object]:
        phases = Phases()
        with measured() as row, self.store.open(HASH, *self.artifact) as artifact:
            skeleton, work = fresh(self.base / "skeleton"), fresh(self.base / "w")
            with phases.phase("skeleton"):
                await asyncio.to_thread(artifact.materialise, skeleton)
            await self.put(artifact, skeleton / IMAGES, work).run({}, phases)
            wake(self.container.init)
        return row | {"phases": phases.summary(), "bytes": phases.bytes}

    def put(self, artifact: Artifact, images: Path, work: Path) -> Put:
        return Put(
            criu=self.criu,
            container=self.container,
            artifact=artifact,
            images=images,
            work=work,
            seconds=LIMIT,
            started=ignore,
            step=ignore,
            end=self.end,
        )

    def settle(self, how: str, *, cold: bool) -> None:
        """The files of what comes next are in the page cache, or nothing is; memory is at hand."""
        subprocess.run(["sync"], check=True)
        if cold:
            Path("/proc/sys/vm/drop_caches").write_text("3")
        else:
            for name in ("plain", "store"):
                for path in (self.base / name).rglob("*"):
                    if path.is_file():
                        with path.open("rb", buffering=0) as file:
                            if name == ("plain" if how == "plain" else "store"):
                                while file.read(1 << 22):
                                    pass
                            else:
                                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        subprocess.run([sys.executable, "-c", TOUCH, str(int(self.mib * 1.1 + 256) << 20)], check=True)


def ignore(*_: object) -> None:
    pass


def fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def wait(condition: object) -> None:
    while not condition():
        time.sleep(0.005)


@contextlib.contextmanager
def measured() -> Iterator[dict[str, object]]:
    """Seconds on the clock and of processors, our own and CRIU's."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = [resource.getrusage(kind) for kind in kinds]
    row: dict[str, object] = {"begin": time.monotonic(), "load": round(os.getloadavg()[0], 2)}
    yield row
    row["seconds"] = round(time.monotonic() - row.pop("begin"), 3)
    used = [(resource.getrusage(kind), old) for kind, old in zip(kinds, before, strict=True)]
    row["cpu"] = round(sum(new.ru_utime + new.ru_stime - old.ru_utime - old.ru_stime for new, old in used), 3)


@contextlib.contextmanager
def bench(mib: int, root: Path) -> Iterator[Bench]:
    base = fresh(root / f"{mib}")
    command = ["unshare", "-p", "-f", "--mount-proc", sys.executable, "-c", INIT]
    outer = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert outer.stdout.readline() == "ready\n"
    init = processes.read_process(int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0]))
    # Its files must be opened in its own mount namespace, or CRIU does not know where they are.
    apart = ["sh", "-c", 'exec setsid -f "$@" </dev/null >/dev/null 2>&1', "sh"]
    enter = ["nsenter", "-t", str(init.pid), "-p", "-m", "--", *apart]
    try:
        subprocess.run([*enter, sys.executable, str(WORKER), str(mib), str(base / "sums")], check=True)
        wait(lambda: (base / "sums").exists() and (base / "sums").read_text().endswith("\n"))
        worker = next(process for process in processes.namespace_members(init.pid) if process.pid != init.pid)
        criu = Criu(Path(os.environ.get("CHREK_CRIU_ROOT", CRIU_ROOT)))
        yield Bench(mib, base, criu, Container("bench", "bench", init.pid, init.start, ()), worker)
    finally:
        os.kill(init.pid, signal.SIGKILL)
        outer.wait()
        outer.stdout.close()
        shutil.rmtree(base, ignore_errors=True)


async def measure(lab: Bench, runs: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []

    def note(kind: str, cache: str, row: dict[str, object]) -> None:
        rows.append({"kind": kind, "cache": cache, "mib": lab.mib} | row)
        print(
            f"{lab.mib} MiB {kind} {cache}: {row['seconds']} s, {row['cpu']} s of processors, load {row['load']}", file=sys.stderr
        )

    for number in range(runs):
        note("plain dump", "", await lab.plain_dump())
        note("capture", "", await lab.capture(number))
        thaw(lab.container.init)
    lab.check()
    lab.end()
    for number in range(runs):
        for cache in ("warm", "cold"):
            order = ("plain", "ours") if number % 2 else ("ours", "plain")
            for how in order:
                lab.settle(how, cold=cache == "cold")
                row = await (lab.plain_restore() if how == "plain" else lab.restore())
                note("plain restore" if how == "plain" else "restore", cache, row)
                lab.check()
                lab.end()
    return rows


def summary(rows: list[dict[str, object]], mib: int) -> dict[str, object]:
    def median(kind: str, cache: str, field: str = "seconds") -> float:
        return statistics.median(row[field] for row in rows if (row["mib"], row["kind"], row["cache"]) == (mib, kind, cache))

    found: dict[str, Any] = {"mib": mib}
    for name, kind, plain in (("capture", "capture", "plain dump"), ("restore", "restore", "plain restore")):
        for cache in ("",) if name == "capture" else ("warm", "cold"):
            ours, theirs = median(kind, cache), median(plain, cache)
            found[f"{name} {cache}".strip()] = {"seconds": ours, "plain": theirs, "ratio": round(theirs / ours, 2)}
    ours, theirs = median("capture", "", "durable"), median("plain dump", "", "durable")
    found["capture, durable"] = {"seconds": ours, "plain": theirs, "ratio": round(theirs / ours, 2)}
    ours, theirs = median("capture", "", "stored"), median("plain dump", "")
    found["capture, in packs"] = {"seconds": ours, "plain": theirs, "ratio": round(theirs / ours, 2)}
    return found


def table(found: list[dict[str, object]]) -> str:
    lines = ["| worker | | plain CRIU | ours, verified | ratio |", "|---|---|---|---|---|"]
    for size in found:
        for key, values in size.items():
            if key != "mib":
                row = f"{values['plain']:.2f} s | {values['seconds']:.2f} s | {values['ratio']:.2f}"
                lines.append(f"| {size['mib'] / 1024:g} GiB | {key} | {row} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="64,512,2048,8192")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="chrek-bench-", dir="/var/tmp") as root:
        for mib in sizes:
            with bench(mib, Path(root)) as lab:
                rows += asyncio.run(measure(lab, options.runs))
    found = [summary(rows, mib) for mib in sizes]
    result = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": {
            "kernel": platform.release(),
            "cpus": len(os.sched_getaffinity(0)),
            "memory": os.sysconf("SC_PHYS_PAGES") * 4096,
        },
        "peak_own_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "medians": found,
        "rows": rows,
    }
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
