"""A GPU worker captured and restored on this machine: `run.py --out FILE [--parts NAME,...] [--criu-root TREE] [--disk DIRECTORY]`.

Each part is a process of its own with a time limit, and notes what it has found as it goes: one that hangs or fails costs its own
numbers alone. Everything lies in a tmpfs, which stands for a warm page cache, but for the parts that say `disk`.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ceilings
import filling
import scenes
from lab import Lab, Note, Row, plain_source

PIPE_LIMIT = Path("/proc/sys/fs/pipe-max-size")
Parts = dict[str, tuple[float, Callable[[Lab, Note], None]]]
"""Name -> seconds that it may take, and what it does."""


def part_ceilings(_: Lab, note: Note) -> None:
    note("facts", ceilings.facts())
    note("memory", ceilings.memory(16))
    note("processor", ceilings.processor())
    note("copies", ceilings.copies())


def part_worker(lab: Lab, note: Note, kind: str, size: str, gib: float, *, plain: int, ours: int, more: bool = False) -> None:
    """One worker, captured and restored both ways. `more`: captured again, on small pages, and as another process like it."""
    words = (kind, size, "7")
    images = lab.fresh("plain")
    if plain:
        plainly = plain_source(lab, note, images, gib, *words)
    with lab.worker(*words) as (box, cold):
        note("cold", cold["seconds"])
        captured, row = _capture(lab, note, "capture", box, gib)
        if more:
            _capture(lab, note, "capture_again", box, gib)
            other = lab.like("small", huge_pages=False)
            _capture(other, note, "capture_small_pages", box, gib)
            shutil.rmtree(other.base)
    for number in range(max(plain, ours)):
        if number < plain:
            ceilings.present(gib * 1.1)
            note("plain_restore", lab.plain_restore(images, plainly, *words))
        if number < ours:
            ceilings.present(gib * 1.1)
            note("restore", lab.restore(captured, row["state"], *words))
    shutil.rmtree(images, ignore_errors=True)
    if more:
        with lab.worker(*words) as (box, _):
            _capture(lab, note, "capture_of_another", box, gib)


def _capture(lab: Lab, note: Note, name: str, box: Any, gib: float) -> tuple[Any, Row]:
    ceilings.present(gib * 2.2)
    captured, row = lab.capture(box)
    note(name, row)
    return captured, row


def part_apart(lab: Lab, note: Note, kind: str, size: str, gib: float, *, runs: int) -> None:
    """A worker that keeps its weights apart."""
    words = (kind, size, "7", "apart")
    with lab.worker(*words) as (box, cold):
        note("cold", cold["seconds"])
        ceilings.present(gib * 1.2)
        captured, row = lab.capture_apart(box)
        note("capture", row)
    for _ in range(runs):
        ceilings.present(4)
        note("restore", lab.restore(captured, row["state"], *words))


def part_disk(lab: Lab, note: Note, gib: int) -> None:
    """Nothing is in the page cache when a restore begins."""
    words = ("weights", str(gib), "7")
    images = lab.fresh("plain")
    plainly = plain_source(lab, note, images, gib, *words)
    with lab.worker(*words) as (box, _):
        captured, row = _capture(lab, note, "capture", box, gib)
    for how in ("plain", "ours"):
        ceilings.present(gib * 1.1)
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        if how == "plain":
            note("plain_restore", lab.plain_restore(images, plainly, *words))
        else:
            note("restore", lab.restore(captured, row["state"], *words))


PARTS: Parts = {
    "ceilings": (60, part_ceilings),
    "smoke": (60, lambda lab, note: part_worker(lab, note, "weights", "1", 2, plain=1, ours=1)),
    "weights-4": (90, lambda lab, note: part_worker(lab, note, "weights", "4", 5, plain=3, ours=3)),
    "weights-16": (300, lambda lab, note: part_worker(lab, note, "weights", "16", 17.5, plain=3, ours=5, more=True)),
    "weights-16-short": (200, lambda lab, note: part_worker(lab, note, "weights", "16", 17.5, plain=2, ours=3)),
    "llama-8b": (160, lambda lab, note: part_worker(lab, note, "llama", "8b", 17, plain=1, ours=3)),
    "weights-32": (220, lambda lab, note: part_worker(lab, note, "weights", "32", 33.5, plain=1, ours=2)),
    "fill-16": (90, lambda lab, note: filling.part_fill(lab, note, 16, runs=3)),
    "apart-16": (120, lambda lab, note: part_apart(lab, note, "weights", "16", 17.5, runs=5)),
    "apart-48": (120, lambda lab, note: part_apart(lab, note, "weights", "48", 49.5, runs=3)),
    "llama-8b-apart": (120, lambda lab, note: part_apart(lab, note, "llama", "8b", 17, runs=3)),
    "server-8b-apart": (100, lambda lab, note: scenes.part_server(lab, note, "8b", 17, runs=3)),
    "two-processes": (100, lambda lab, note: scenes.part_two(lab, note, "4", 9.5, runs=2)),
    "clones": (80, lambda lab, note: scenes.part_clones(lab, note, "1b", 4)),
    "disk-8": (120, lambda lab, note: part_disk(lab, note, 8)),
}
USUAL = "ceilings,weights-16,apart-16,llama-8b,llama-8b-apart"


def run_part(name: str, work: Callable[[Lab, Note], None], made: Callable[[], Lab], base: Path, out: Path) -> None:
    """In its own process: notes each result in `out` at once."""
    found: dict[str, Any] = {}

    def note(key: str, value: Any) -> None:
        found.setdefault(key, []).append(value)
        out.write_text(json.dumps(found))
        shown = json.dumps(value, default=str)
        print(f"{name} {key}: {shown[:700]}", flush=True)

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("chrek_agent").setLevel(logging.DEBUG)
    base.mkdir(parents=True)
    try:
        work(made(), note)
    except BaseException:
        note("error", traceback.format_exc()[-3000:])
        logs = [path for pattern in ("dump.log", "restore.log", "log") for path in base.rglob(pattern)]
        for path in sorted(logs, key=lambda path: path.stat().st_mtime)[-3:]:
            note(path.name, path.read_text(errors="replace")[-4000:])
        raise


def run_all(options: argparse.Namespace, parts: Parts, script: str) -> dict[str, Any]:
    began = time.monotonic()
    whole: dict[str, Any] = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "parts": {}}
    for name in options.parts.split(","):
        left = options.seconds - (time.monotonic() - began)
        limit = min(parts[name][0], left)
        base = (options.disk if name.startswith("disk") else options.memory) / name
        notes = options.out.with_name(f"{name}.part")
        begin = time.monotonic()
        words = ["--part", name, "--criu-root", str(options.criu_root), "--memory", str(base), "--out", str(notes)]
        status = _timed([sys.executable, script, *words], limit) if limit > 20 else "no time was left"
        found = json.loads(notes.read_text()) if notes.exists() else {}
        notes.unlink(missing_ok=True)
        if status != "done":
            found["logs"] = [log.read_text(errors="replace")[-2000:] for log in base.glob("*/log")]
        whole["parts"][name] = found | {"status": status, "seconds": round(time.monotonic() - begin, 1)}
        options.out.write_text(json.dumps(whole, indent=1) + "\n")
        shutil.rmtree(base, ignore_errors=True)
    return whole


def _timed(words: list[str], seconds: float) -> str:
    process = subprocess.Popen(words, start_new_session=True)
    try:
        return "done" if process.wait(seconds) == 0 else "failed"
    except subprocess.TimeoutExpired:
        # Its containers end with it.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"not done within {seconds:.0f} s"


def main(parts: Parts = PARTS, script: str = __file__, usual: str = USUAL, made: Callable[[Path, Path], Lab] = Lab) -> None:
    """Another script may run parts of its own, in labs of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default=usual)
    parser.add_argument("--seconds", type=float, default=560, help="for all parts together")
    parser.add_argument("--criu-root", type=Path, default=Path("/opt/chrek/criu"))
    parser.add_argument("--memory", type=Path, default=Path("/run/chrek-bench"), help="where a tmpfs is mounted for the run")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp/chrek-bench"))
    parser.add_argument("--part", choices=parts, help="only this one, in this process")
    options = parser.parse_args()
    if options.part:
        run_part(options.part, parts[options.part][1], lambda: made(options.memory, options.criu_root), options.memory, options.out)
        return
    options.memory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=110g", "tmpfs", str(options.memory)], check=True)
    before = PIPE_LIMIT.read_text()
    # CRIU keeps memory in pipes; without CAP_SYS_RESOURCE it may not have as many as it needs unless they may be long.
    PIPE_LIMIT.write_text(str(16 << 20))
    try:
        run_all(options, parts, script)
    finally:
        PIPE_LIMIT.write_text(before)
        subprocess.run(["umount", "-l", str(options.memory)], check=False)


if __name__ == "__main__":
    main()
