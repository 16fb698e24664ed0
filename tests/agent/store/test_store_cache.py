"""A node's cache: bounded, shared, never believed, kept over restarts; and what is told of it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from chrek_agent.errors import ArtifactError, StoreError
from chrek_agent.node.storage import cache_status, copies
from chrek_agent.store import cached
from chrek_agent.store.cached import CachedBackend, PieceCache
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.store import Store

HASH = "5941a4cb3c363457"
PACK = "packs/a.pack"
OVERHEAD = 32


class Clock:
    now = 1e9

    def __call__(self):
        self.now += 1
        return self.now

    def pass_by(self):
        self.now += 2 * cached.SETTLED_SECONDS


class Counting:
    """Passes reads on and notes them; what is in `answers` is answered first."""

    def __init__(self, inner):
        self.inner, self.reads, self.answers = inner, [], []

    def read(self, key, offset, length):
        self.reads.append(key)
        answer = self.answers.pop(0) if self.answers and key.endswith(".pack") else None
        if isinstance(answer, Exception):
            raise answer
        return self.inner.read(key, offset, length) if answer is None else answer(self.inner.read(key, offset, length))

    def read_into(self, key, offset, into):
        content = self.read(key, offset, len(into))
        into[: len(content)] = content
        return len(content)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def packs(self):
        found = [key for key in self.reads if key.startswith("packs/")]
        self.reads.clear()
        return found


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_cache(tmp_path, clock):
    return lambda quota=1 << 30: PieceCache(tmp_path / "cache", quota, clock)


@pytest.fixture
def place(memory_backend):
    return Counting(memory_backend())


@pytest.fixture
def store(place, tmp_path, make_cache):
    return Store(place, tmp_path / "scratch", cache=make_cache())


def capture(store, make_fields, generation, content, uid="uid-1"):
    with store.begin(generation) as writer:
        run = writer.add_run("private", 1, 0)
        for offset in range(0, len(content), CHUNK):
            run.write(memoryview(content)[offset : offset + CHUNK])
        run.close()
        return writer.commit(make_fields(uid))[1]


def restore(store, generation, digest):
    with store.open(HASH, generation, digest) as artifact:
        pieces = []
        for chunk in artifact.chunks(artifact.manifest.memory[0]):
            pieces.append(artifact.fetch(chunk))
            artifact.check(chunk, pieces[-1])
        return b"".join(pieces)


def test_what_was_read_once_is_read_here(store, place, make_fields):
    content = os.urandom(3 * CHUNK)
    digest = capture(store, make_fields, "g-1", content)
    place.packs()
    assert restore(store, "g-1", digest) == content
    assert len(place.packs()) == 4
    assert restore(store, "g-1", digest) == content
    assert place.packs() == []


def test_what_artifacts_share_is_kept_once(store, place, make_fields):
    content = os.urandom(2 * CHUNK)
    first, second = capture(store, make_fields, "g-1", content), capture(store, make_fields, "g-2", content, uid="uid-2")
    assert restore(store, "g-1", first) == content
    size = store.cache.size
    place.packs()
    assert restore(store, "g-2", second) == content
    assert (place.packs(), store.cache.size) == ([], size)
    assert 2 * CHUNK <= size < 2 * CHUNK + 4096


def test_it_is_still_there_after_a_restart(store, place, make_fields, make_cache, tmp_path):
    digest = capture(store, make_fields, "g-1", os.urandom(CHUNK))
    restore(store, "g-1", digest)
    (tmp_path / "cache" / ".new-half").write_bytes(b"of an agent that died")
    again = make_cache()
    assert again.size == store.cache.size
    assert not (tmp_path / "cache" / ".new-half").exists()
    place.packs()
    restore(Store(place, tmp_path / "scratch", cache=again), "g-1", digest)
    assert place.packs() == []


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove", "link"])
def test_what_is_damaged_here_is_read_there_again(store, place, make_fields, tmp_path, damage):
    content = os.urandom(CHUNK)
    digest = capture(store, make_fields, "g-1", content)
    restore(store, "g-1", digest)
    for path in tmp_path.glob("cache/*/*"):
        before = path.read_bytes()
        path.unlink()
        if damage == "link":
            path.symlink_to("/etc/hostname")
        elif damage != "remove":
            path.write_bytes({"flip": bytes([before[0] ^ 1]) + before[1:], "cut": before[:-9], "empty": b""}[damage])
    place.packs()
    assert restore(store, "g-1", digest) == content
    assert len(place.packs()) == 2
    assert restore(store, "g-1", digest) == content
    assert place.packs() == []


def test_what_was_changed_on_its_way_is_asked_for_again_and_not_kept(store, place, make_fields):
    content = os.urandom(CHUNK)
    digest = capture(store, make_fields, "g-1", content)
    place.answers = [lambda data: bytes(len(data))]
    assert restore(store, "g-1", digest) == content
    place.packs()
    assert restore(store, "g-1", digest) == content
    assert place.packs() == []


def test_what_is_wrong_there_is_not_kept_either(store, place, make_fields):
    digest = capture(store, make_fields, "g-1", os.urandom(CHUNK))
    place.answers = [lambda data: bytes(len(data)), lambda data: data[:100]]
    with pytest.raises(ArtifactError):
        restore(store, "g-1", digest)


def test_a_store_that_does_not_answer_is_not_an_artifact_that_is_lost(store, place, make_fields):
    digest = capture(store, make_fields, "g-1", os.urandom(CHUNK))
    place.answers = [StorageError("s3://bucket: it cannot be reached")]
    with pytest.raises(StoreError, match="it cannot be reached"):
        restore(store, "g-1", digest)


def test_verifying_reads_the_store_itself(store, place, make_fields):
    digest = capture(store, make_fields, "g-1", os.urandom(CHUNK))
    restore(store, "g-1", digest)
    place.packs()
    store.verify(HASH, "g-1", digest)
    assert len(place.packs()) == 2


def test_the_longest_unread_goes_first_and_down_to_the_watermark(make_cache, clock):
    piece = 1000 - OVERHEAD
    cache = make_cache(10_000)
    for number in range(10):
        cache.put(PACK, number, piece, bytes(piece))
    clock.pass_by()
    assert cache.get(PACK, 0, piece) == bytes(piece)
    cache.put(PACK, 10, piece, bytes(piece))
    assert [number for number in range(11) if cache.holds(PACK, number, piece)] == [0, 3, 4, 5, 6, 7, 8, 9, 10]
    assert cache.size == 9000
    assert make_cache(10_000).size == 9000


OTHER = "packs/b.pack"


def test_what_is_pinned_stays_and_goes_in_its_turn_when_it_is_not(make_cache, clock):
    piece = 1000 - OVERHEAD
    cache = make_cache(10_000)
    cache.put(PACK, 0, piece, bytes(piece))
    cache.pin("uid", ["a"])
    cache.put(PACK, 1, piece, bytes(piece))
    for number in range(20):
        clock.pass_by()
        cache.put(OTHER, number, piece, bytes(piece))
        cache.get(OTHER, 0, piece)
    assert all(cache.holds(PACK, number, piece) for number in (0, 1))
    assert [number for number in range(20) if cache.holds(OTHER, number, piece)] == [0, *range(13, 20)]
    assert cache.size == 10_000
    cache.pin("uid", ["none"])
    for number in range(20, 22):
        clock.pass_by()
        cache.put(OTHER, number, piece, bytes(piece))
    assert not any(cache.holds(PACK, number, piece) for number in (0, 1))


def test_where_all_is_pinned_nothing_else_is_kept(make_cache, clock):
    cache = make_cache(4_000)
    for holder in ("one", "two"):
        cache.pin(holder, ["a"])
    for number in range(4):
        cache.put(PACK, number, 900, bytes(900))
    clock.pass_by()
    cache.put(OTHER, 0, 900, bytes(900))
    assert not cache.holds(OTHER, 0, 900)
    cache.unpin("one")
    cache.put(OTHER, 0, 900, bytes(900))
    assert not cache.holds(OTHER, 0, 900), "the other one wants it still"
    cache.unpin("two")
    cache.unpin("nobody")
    cache.put(OTHER, 0, 900, bytes(900))
    assert cache.holds(OTHER, 0, 900)
    assert cache.size <= 4_000


def test_order_of_use_is_kept_over_a_restart(make_cache, clock):
    cache = make_cache(4_000)
    for number in range(4):
        cache.put(PACK, number, 900, bytes(900))
    cache.get(PACK, 0, 900)
    clock.pass_by()
    again = make_cache(4_000)
    again.put(PACK, 9, 900, bytes(900))
    assert again.holds(PACK, 0, 900)
    assert not again.holds(PACK, 1, 900)


def test_one_restore_does_not_push_out_its_own_beginning(make_cache):
    cache = make_cache(5_000)
    for number in range(20):
        cache.put(PACK, number, 900, bytes(900))
    assert [number for number in range(20) if cache.holds(PACK, number, 900)] == [0, 1, 2, 3, 4]


def test_the_quota_holds_whoever_writes_at_the_same_time(make_cache, monkeypatch):
    cache, all_here, write = make_cache(5_000), threading.Barrier(5), cached._write

    def together(*arguments):
        if len(arguments[1]) == 900:
            all_here.wait()  # Five have their room, and none has been written.
        write(*arguments)

    monkeypatch.setattr(cached, "_write", together)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: cache.put(PACK, number, 900, bytes(900)), range(12)))
    assert cache.size == 5 * (900 + OVERHEAD) == sum(path.stat().st_size for path in cache.directory.rglob("*-900"))


def test_what_goes_takes_up_its_room_until_it_is_gone(make_cache, clock, monkeypatch):
    cache = make_cache(10 * (1000 + OVERHEAD))
    for number in range(10):
        cache.put(PACK, 1000 * number, 1000, bytes(1000))
    clock.pass_by()
    unlink, seen = cache._unlink, []

    def look(name):
        cache.put(PACK, 90_000 + len(seen), 1000, bytes(1000))
        seen.append(sum(path.stat().st_size for path in cache.directory.rglob("*") if path.is_file()))
        unlink(name)

    monkeypatch.setattr(cache, "_unlink", look)
    cache.put(PACK, 50_000, 1000, bytes(1000))
    assert seen
    assert max(seen) <= cache.quota


def test_a_full_disk_is_no_error(make_cache, monkeypatch, caplog):
    cache = make_cache()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached, "_write", refuse)
    for number in range(2):
        cache.put(PACK, number, 9, b"123456789")
    assert (cache.size, cache.get(PACK, 0, 9)) == (0, None)
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["No space left on device"]
    assert [path for path in cache.directory.rglob("*") if path.is_file()] == []


def test_only_what_never_changes_is_kept(memory_backend, make_cache):
    backend = CachedBackend(memory_backend(), make_cache())
    for key in ("h/g/manifest.json", "tombstones/a", PACK):
        backend.put(key, b"one")
        backend.read(key, 0, 3)
        backend.put(key, b"two")
    assert [backend.read(key, 0, 3) for key in ("h/g/manifest.json", "tombstones/a", PACK)] == [b"two", b"two", b"one"]


def test_what_is_told_of_it(store, make_fields):
    digest = capture(store, make_fields, "g-1", os.urandom(4 * CHUNK))
    capture(store, make_fields, "g-2", os.urandom(CHUNK), uid="uid-2")
    restore(store, "g-1", digest)
    usage = store.usage()
    assert {found.generation: found.cached for found in usage.artifacts} == {"g-1": 4 * CHUNK, "g-2": 0}
    assert cache_status(store.cache, usage) == {"bytes": store.cache.size, "quotaBytes": 1 << 30, "hashes": [HASH]}
    other = {"node": "b", "bytes": 7, "at": "2026-01-01T00:00:00Z"}
    body = {"metadata": {}, "status": {"artifact": {"generation": "g-1"}, "caches": [other]}}
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ((_, said),) = copies([body], usage, "a", now)
    assert said == [other, {"node": "a", "bytes": 4 * CHUNK, "total": 4 * CHUNK, "at": "2026-01-02T00:00:00Z"}]
    body["status"]["caches"] = said
    assert copies([body], usage, "a", now) == []
    body["status"]["artifact"]["generation"] = "g-3"
    assert copies([body], usage, "a", now)[0][1] == [other]


def small_ones(store, make_fields):
    contents = [os.urandom(8192) for _ in range(40)]
    with store.begin("g-1") as writer:
        for number, content in enumerate(contents):
            run = writer.add_run("private", 1, number << 20)
            run.write(memoryview(content))
            run.close()
        return contents, writer.commit(make_fields())[1]


def read_small_ones(store, digest):
    with store.open(HASH, "g-1", digest) as artifact:
        runs = sorted(artifact.manifest.memory, key=lambda run: run.start)
        chunks = [chunk for run in runs for chunk in artifact.chunks(run)]
        artifact.expect(chunks)
        return [bytes(artifact.fetch(chunk)) for chunk in chunks]


def test_small_neighbours_are_read_together(place, tmp_path, make_fields):
    store = Store(place, tmp_path / "scratch")
    contents, digest = small_ones(store, make_fields)
    place.packs()
    assert read_small_ones(store, digest) == contents
    assert len(place.packs()) == 2


def test_small_neighbours_that_were_changed_on_their_way_are_read_again_by_themselves(store, place, make_fields):
    contents, digest = small_ones(store, make_fields)
    place.answers = [lambda data: bytes(len(data))]
    place.packs()
    assert read_small_ones(store, digest) == contents
    assert len(place.packs()) == 2 + len(contents)
