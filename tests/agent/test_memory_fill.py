"""From one process's memory to a store, and into another's: without CRIU, whose images are written by hand."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chrek_agent.container import processes
from chrek_agent.criu.images import MM_MAGIC, write_image
from chrek_agent.criu.pagemap import LAZY, PAGE, PRESENT, Entry, Pagemap, read_pagemap, write_pagemap
from chrek_agent.criu.wire import BYTES, VARINT, Field, encode
from chrek_agent.errors import ArtifactError, CaptureError
from chrek_agent.memory import crew as crew_module
from chrek_agent.memory.access import ProcessMemory
from chrek_agent.memory.crew import Crew, start_crew
from chrek_agent.memory.fill import FillError, fill
from chrek_agent.memory.harvest import harvest
from chrek_agent.memory.packs import PackReader
from chrek_agent.memory.pool import Stopped, interruptible, work_off
from chrek_agent.memory.whole import complete_images
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.protection import Protection
from chrek_agent.store.sealing import Keyring
from chrek_agent.store.store import Store

BASE = 0x5100_0000_0000
READ, WRITE = 1, 2
# Pages and protection of each mapping; between them are gaps.
AREAS = ((1200, READ | WRITE), (70, READ), (300, 0), (3, READ | WRITE), (640, READ | WRITE))
INNER = 1001
HASH = "ab" * 8
PROGRAM = f"""
import ctypes, signal
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
address = {BASE}
for pages, protection in {AREAS}:
    assert libc.mmap(address, pages * 4096, protection, 0x100022, -1, 0) == address
    address += (pages + 5) * 4096
print("ready", flush=True)
signal.pause()
"""


def places():
    address = BASE
    for pages, _ in AREAS:
        yield address, pages * PAGE
        address += (pages + 5) * PAGE


@pytest.fixture
def spawn(as_root):
    """Starts processes with the areas, empty."""
    with ExitStack() as stack:

        def start():
            child = stack.enter_context(subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True))
            stack.callback(child.kill)
            assert child.stdout.readline() == "ready\n"
            found = processes.read_process(child.pid)
            return processes.Process(found.pid, found.parent, INNER, found.name, found.state, found.start)

        yield start


def contents():
    """Random, with pages and a whole chunk of zeros."""
    choice = random.Random(5)
    for _, length in places():
        content = bytearray(choice.randbytes(length))
        for page in choice.sample(range(length // PAGE), length // PAGE // 4):
            content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
        if length > 2 * CHUNK:
            content[CHUNK : 2 * CHUNK] = bytes(CHUNK)
        yield bytes(content)


def poke(process, pieces):
    with Path(f"/proc/{process.pid}/mem").open("r+b", buffering=0) as memory:
        for (address, _), content in zip(places(), pieces, strict=True):
            os.pwrite(memory.fileno(), content, address)


def peek(process):
    with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
        return [os.pread(memory.fileno(), length, address) for address, length in places()]


@pytest.fixture
def images(tmp_path):
    """A dump that has left everything in place but the fourth area."""
    path = tmp_path / "images"
    path.mkdir()
    vmas = []
    for address, length in places():
        values = ((1, address), (2, address + length), (3, 0), (4, 0), (5, 3), (6, 0x22), (7, 0x201))
        vmas.append(Field(14, BYTES, encode(Field(number, VARINT, value) for number, value in values)))
    write_image(path / f"mm-{INNER}.img", MM_MAGIC, [encode(vmas)])
    kinds = (LAZY, LAZY, LAZY, PRESENT, LAZY)
    entries = tuple(Entry(address, length, kind) for (address, length), kind in zip(places(), kinds, strict=True))
    write_pagemap(path / f"pagemap-{INNER}.img", Pagemap(1, entries))
    (path / "pages-1.img").write_bytes(list(contents())[3])
    return path


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


def captured(store, images, process):
    """The open artifact of a process's memory."""
    with store.begin("g") as writer:
        found = harvest(images, writer, [process])
        assert found.bulk == (1200 + 70 + 300 + 640) * PAGE
        assert found.rest == 3 * PAGE
        for path in sorted(images.iterdir()):
            writer.add_file(path.name, path)
        source = Source(node="", pod="", container="", image="", image_id="", worker=INNER, pids=[INNER], pipes={})
        owner = Owner(namespace="n", name="n", uid="u")
        fields = {"identity": {}, "created_at": datetime.now(UTC), "compatibility": {}, "deleted": []}
        _, digest = writer.commit(Fields(identity_hash=HASH, owner=owner, source=source, **fields))
    return store.open(HASH, "g", digest)


@pytest.fixture
def artifact(store, images, spawn):
    source = spawn()
    poke(source, contents())
    with captured(store, images, source) as found:
        yield found


def test_memory_goes_from_one_process_to_another_whatever_protects_it(artifact, images, spawn):
    target = spawn()
    done = fill(artifact, images, [target])
    assert peek(target) == expected()
    assert done.length == (1200 + 70 + 300 + 640) * PAGE
    assert 0 < done.forced < done.written < done.length


def test_the_images_are_left_with_the_rest_alone(artifact, images):
    address, length = list(places())[3]
    assert read_pagemap(images / f"pagemap-{INNER}.img") == Pagemap(1, (Entry(address, length, PRESENT),))
    assert (images / "pages-1.img").read_bytes() == list(contents())[3]


def test_the_images_can_be_made_whole_again(artifact, images):
    complete_images(artifact, images)
    assert (images / "pages-1.img").read_bytes() == b"".join(contents())
    expected = tuple(Entry(address, length, PRESENT) for address, length in places())
    assert read_pagemap(images / f"pagemap-{INNER}.img").entries == expected


def test_a_plain_dump_is_taken_apart_alike(artifact, images, store, tmp_path):
    complete_images(artifact, images)
    with store.begin("h") as writer:
        found = harvest(images, writer, [])
        assert found.bulk == 0  # CRIU marks what may be lazy; these images were written as if nothing might.
        assert writer.stored_bytes == 0


def spoil(artifact, number):
    run = artifact.manifest.memory[0]
    place = list(artifact.chunks(run))[number].place
    with place.path.open("r+b") as pack:
        pack.seek(place.offset + 100)
        byte = pack.read(1)
        pack.seek(place.offset + 100)
        pack.write(bytes([byte[0] ^ 1]))


def test_a_chunk_that_has_changed_is_not_written(artifact, images, spawn):
    spoil(artifact, 0)
    target = spawn()
    with pytest.raises(ArtifactError, match="has changed"):
        fill(artifact, images, [target])
    assert peek(target)[0][:CHUNK] == bytes(CHUNK)


def test_a_process_that_is_gone_is_not_written_to(artifact, images, spawn):
    target = spawn()
    os.kill(target.pid, signal.SIGKILL)
    os.waitid(os.P_PID, target.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(FillError):
        fill(artifact, images, [target])


def test_another_process_under_the_same_number_is_not_opened(spawn):
    target = spawn()
    with pytest.raises(ProcessLookupError, match="is gone"):
        ProcessMemory(processes.Process(target.pid, 1, INNER, "", "T", target.start - 1))


def test_a_process_that_is_not_there_is_refused(artifact, images):
    with pytest.raises(FillError, match="process 1001 of the worker is not there"):
        fill(artifact, images, [])


def test_memory_that_is_not_there_cannot_be_written_or_read(spawn):
    with ProcessMemory(spawn()) as memory:
        with pytest.raises(OSError, match="Input/output error"):
            memory.write([(0x10000, PAGE)], memoryview(bytearray(PAGE)))
        with pytest.raises(OSError, match="Input/output error"):
            memory.read(0x10000, memoryview(bytearray(PAGE)))


def test_a_frozen_process_that_has_gone_fails_the_capture(store, images):
    with store.begin("g") as writer, pytest.raises(CaptureError, match="memory cannot be read"):
        harvest(images, writer, [])


def test_a_pagemap_that_promises_more_than_there_is_fails_the_capture(store, images, spawn):
    (images / "pages-1.img").write_bytes(b"")
    with store.begin("g") as writer, pytest.raises(CaptureError, match="shorter than its pagemap says"):
        harvest(images, writer, [spawn()])


def test_an_image_that_is_malformed_fails_the_capture(store, images, spawn):
    (images / f"mm-{INNER}.img").write_bytes(b"\0" * 40)
    with store.begin("g") as writer, pytest.raises(CaptureError, match="not as expected"):
        harvest(images, writer, [spawn()])


@pytest.mark.parametrize("cached", [True, False])
def test_packs_are_read_from_the_page_cache_and_past_it(artifact, tmp_path, cached):
    os.sync()
    for pack in tmp_path.rglob("*.pack"):
        with pack.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED if cached else os.POSIX_FADV_DONTNEED)
    run = artifact.manifest.memory[0]
    seen = []

    def read(chunk, buffer):
        dense = reader.read(chunk, buffer)
        artifact.check(chunk, dense)
        assert not dense.readonly
        seen.append(chunk.offset)

    with PackReader(artifact) as reader:
        work_off(artifact.chunks(run), read, threads=2, stop=threading.Event())
    assert sorted(seen) == [0, 2 * CHUNK]


def test_the_first_error_ends_the_work():
    done = []

    def work(item, buffer):
        done.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        work_off(range(1000), work, threads=1, stop=threading.Event())
    assert done == [0]


async def test_work_in_a_thread_is_stopped_when_we_are_cancelled():
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(stop):
        def item(number, buffer):
            loop.call_soon_threadsafe(begun.set)
            stop.wait(20)

        try:
            work_off(range(10), item, threads=2, stop=stop)
        except Stopped:
            ended.set()

    task = asyncio.create_task(interruptible(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def crewed(artifact, images, target, *, stop=None):
    with Crew(artifact, 2) as crew:
        return fill(artifact, images, [target], crew=crew, stop=stop)


def expected():
    pieces = list(contents())
    pieces[3] = bytes(3 * PAGE)  # It is in the images, which only CRIU restores.
    return pieces


def test_a_crew_fills_memory_alike(artifact, images, spawn):
    alone, helped = spawn(), spawn()
    done = fill(artifact, images, [alone])
    found = crewed(artifact, images, helped)
    assert peek(helped) == peek(alone) == expected()
    assert (found.length, found.written, found.forced) == (done.length, done.written, done.forced)


def test_a_chunk_that_has_changed_is_written_by_no_crew(artifact, images, spawn):
    spoil(artifact, 0)
    target = spawn()
    with pytest.raises(ArtifactError, match="has changed"):
        crewed(artifact, images, target)
    assert peek(target)[0][:CHUNK] == bytes(CHUNK)


def test_what_a_dead_filler_leaves_is_done_by_the_agent(artifact, images, spawn):
    target = spawn()
    with Crew(artifact, 2) as crew:
        for filler in crew.fillers:
            filler.kill()
            filler.wait()
        fill(artifact, images, [target], crew=crew)
    assert peek(target) == expected()


def test_a_crew_writes_to_no_process_that_is_gone(artifact, images, spawn):
    target = spawn()
    os.kill(target.pid, signal.SIGKILL)
    os.waitid(os.P_PID, target.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(FillError):
        crewed(artifact, images, target)


def test_a_crew_leaves_compressed_chunks_to_the_agent(images, spawn, tmp_path):
    source, target = spawn(), spawn()
    poke(source, [b"ab" * (length // 2) for _, length in places()])
    with captured(Store.at(tmp_path / "small", compress=True), images, source) as artifact, Crew(artifact, 2) as crew:
        assert not crew.jobs
        fill(artifact, images, [target], crew=crew)
    assert peek(target)[0] == b"ab" * (AREAS[0][0] * PAGE // 2)


@pytest.mark.parametrize("cold", [False, True])
def test_a_crew_opens_what_is_sealed(cold, images, spawn, tmp_path, monkeypatch):
    source, target = spawn(), spawn()
    poke(source, contents())
    plain = Store.at(tmp_path / "sealed")
    store = Store(plain.backend, plain.scratch, protection=Protection(Keyring(bytes(32))))
    with captured(store, images, source) as artifact, Crew(artifact, 2) as crew:
        assert crew.jobs
        assert not crew.rest
        for path in {chunk.place.path for _, chunk in crew.jobs} if cold else ():
            with path.open("rb") as pack:
                os.fsync(pack.fileno())
                os.posix_fadvise(pack.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        monkeypatch.setattr(artifact, "fetch", None)  # All of it is theirs.
        fill(artifact, images, [target], crew=crew)
    assert peek(target) == expected()


def test_a_crew_can_be_stopped(artifact, images, spawn):
    stop = threading.Event()
    stop.set()
    with Crew(artifact, 2) as crew:
        fillers = list(crew.fillers)
        with pytest.raises(Stopped):
            fill(artifact, images, [spawn()], crew=crew, stop=stop)
    assert all(filler.returncode is not None for filler in fillers)


def test_a_crew_runs_where_it_is_told_to(artifact):
    first = min(os.sched_getaffinity(0))
    with Crew(artifact, 2, processors={first}) as crew:
        assert [os.sched_getaffinity(filler.pid) for filler in crew.fillers] == [{first}, {first}]


def test_a_small_artifact_needs_no_crew(artifact):
    assert start_crew(artifact) is None


def test_fillers_that_cannot_be_started_are_done_without(artifact, monkeypatch, caplog):
    monkeypatch.setattr(crew_module, "LEAST", 0)
    monkeypatch.setattr(crew_module, "THREADS", 1)
    monkeypatch.setattr(crew_module.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(crew_module.sys, "executable", "/nowhere")
    assert start_crew(artifact) is None
    assert "by the agent alone" in caplog.text
