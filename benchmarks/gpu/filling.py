"""How fast a stopped process's memory is filled from the store, without CRIU and a GPU: with its digests, and without them."""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ceilings
from lab import HASH, Lab, Note

from chrek_agent.container.processes import Process, read_process
from chrek_agent.criu.images import MM_MAGIC, write_image
from chrek_agent.criu.pagemap import LAZY, Entry, Pagemap, write_pagemap
from chrek_agent.criu.wire import BYTES, VARINT, Field, encode
from chrek_agent.memory import crew
from chrek_agent.memory.fill import fill
from chrek_agent.memory.harvest import harvest
from chrek_agent.store.model import Fields, Owner, Source

BASE = 0x5100_0000_0000
INNER = 1001
BLOCK = 2 << 20
UNVERIFIED = "unverified"


def hold(gib: int, *, filled: bool) -> None:
    """The process whose memory it is: on huge pages, as a GPU worker's is restored."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size = gib << 30
    assert libc.mmap(BASE, size, 3, 0x100022, -1, 0) == BASE
    libc.madvise(ctypes.c_void_p(BASE), ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)
    if filled:
        noise = os.urandom(BLOCK)
        for number in range(size // BLOCK):
            ctypes.memmove(BASE + number * BLOCK, number.to_bytes(8, "little") + noise[8:], BLOCK)
    print("ready", flush=True)
    sys.stdin.read()


@contextmanager
def _process(gib: int, *, filled: bool) -> Iterator[Process]:
    words = [sys.executable, __file__, str(gib), "filled" if filled else "empty"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        found = read_process(child.pid)
        assert found is not None
        yield replace(found, inner=INNER)
        child.kill()


def _images(directory: Path, gib: int) -> Path:
    """As CRIU leaves them of a process whose memory stays in place."""
    directory.mkdir(parents=True)
    values = ((1, BASE), (2, BASE + (gib << 30)), (3, 0), (4, 0), (5, 3), (6, 0x22), (7, 0x201))
    mapping = Field(14, BYTES, encode(Field(number, VARINT, value) for number, value in values))
    write_image(directory / f"mm-{INNER}.img", MM_MAGIC, [encode([mapping])])
    write_pagemap(directory / f"pagemap-{INNER}.img", Pagemap(1, (Entry(BASE, gib << 30, LAZY),)))
    (directory / "pages-1.img").touch()
    return directory


def part_fill(lab: Lab, note: Note, gib: int, *, runs: int) -> None:
    """Notes `stored`, and GiB a second of each fill: `verified` and `unverified`, in turn."""
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), here]))
    images = _images(lab.fresh("images"), gib)
    ceilings.present(gib * 2.2)
    with lab.store.begin("fill") as writer:
        with _process(gib, filled=True) as source:
            begin = time.monotonic()
            harvest(images, writer, [source])
            note("stored", round(gib / (time.monotonic() - begin), 1))
        origin = Source(node="", pod="", container="", image="", image_id="", worker=INNER, pids=[INNER], pipes={})
        said: dict[str, Any] = {"identity": {}, "created_at": datetime.now(UTC), "compatibility": {}, "deleted": []}
        owner = Owner(namespace="bench", name="bench", uid="uid-bench")
        _, digest = writer.commit(Fields(identity_hash=HASH, owner=owner, source=origin, **said))
    with lab.store.open(HASH, "fill", digest) as artifact:
        for _ in range(runs):
            for name, program in (("verified", crew.FILLER), (UNVERIFIED, UNVERIFIED)):
                ceilings.present(gib * 1.1)
                crew.FILLER, kept = program, crew.FILLER
                with _process(gib, filled=False) as target:
                    helpers = crew.start_crew(artifact)
                    crew.FILLER = kept
                    time.sleep(0.3)  # They start while CRIU is at work.
                    done = fill(artifact, images, [target], crew=helpers)
                    if helpers is not None:
                        helpers.close()
                    note(name, round(gib / done.seconds, 1))
    shutil.rmtree(images)


if __name__ == "__main__":
    hold(int(sys.argv[1]), filled=sys.argv[2] == "filled")
