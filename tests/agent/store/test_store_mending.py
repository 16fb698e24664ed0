"""What is damaged is stored anew from whoever has it whole: the store itself, the node's cache, another store; or nothing is."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.node.ceilings import Ceilings
from chrek_agent.store.cached import PieceCache
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.copying import copy
from chrek_agent.tasks.mending import Mended, Mender, mend
from chrek_agent.tasks.staging import stage
from kubectl_chrek.api.errors import UsageError

HASH = "5941a4cb3c363457"
KEEP = b"k" * CHUNK


@pytest.fixture
def store(memory_backend, tmp_path):
    return Store(memory_backend(), tmp_path / "scratch", cache=PieceCache(tmp_path / "cache", 1 << 30))


@pytest.fixture
def capture(store, make_fields):
    def make(generation, *chunks, uid="uid-1"):
        with store.begin(generation) as writer:
            run = writer.add_run("private", 1, 0)
            for chunk in chunks:
                run.write(memoryview(chunk))
            run.close()
            return HASH, generation, writer.commit(make_fields(uid))[1]

    return make


def content(store, key):
    with store.open(*key) as artifact:
        return [bytes(artifact.fetch(chunk)) for chunk in artifact.chunks(artifact.manifest.memory[0])]


def damage(store, at):
    """One byte of the only pack."""
    (key,) = [entry.key for entry in store.backend.list("packs/") if entry.key.endswith(".pack")]
    data, when = store.backend.objects[key]
    store.backend.objects[key] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], when
    return key.removeprefix("packs/").removesuffix(".pack")


def mirror(store, key, memory_backend, tmp_path):
    other = Store(memory_backend(), tmp_path / "other")
    copy(store, other, *key)
    return other


def test_nothing_is_done_where_nothing_is_wrong(store, capture):
    assert mend(store, capture("g-1", KEEP), []) == Mended()


def test_a_chunk_comes_back_from_another_store(store, capture, memory_backend, tmp_path):
    chunks = [os.urandom(CHUNK) for _ in range(3)]
    key = capture("g-1", *chunks)
    other = mirror(store, key, memory_backend, tmp_path)
    pack = damage(store, 7)
    assert mend(store, key, [other]) == Mended(chunks=3, bytes=3 * CHUNK, packs=1)
    store.verify(*key)
    assert content(store, key) == chunks
    assert store.sweep(datetime.now(UTC) + timedelta(hours=5)).deleted == [pack]
    assert content(store, key) == chunks


def test_a_chunk_comes_back_from_the_cache(store, capture):
    chunks = [os.urandom(CHUNK) for _ in range(2)]
    key = capture("g-1", *chunks)
    with store.open(*key) as artifact:
        assert stage(artifact, store.cache, lambda done, total: None) == (2 * CHUNK, 2 * CHUNK)
    damage(store, CHUNK + 5)
    assert mend(store, key, []).chunks == 2
    store.cache = None
    assert content(store, key) == chunks


def test_what_others_need_of_the_damaged_pack_is_saved_too(store, capture, memory_backend, tmp_path):
    mine, theirs = os.urandom(CHUNK), os.urandom(CHUNK)
    first = capture("g-1", mine, theirs)
    second = capture("g-2", theirs, uid="uid-2")
    other = mirror(store, first, memory_backend, tmp_path)
    store.cache = None
    pack = damage(store, 3)
    mend(store, first, [other])
    assert store.sweep(datetime.now(UTC) + timedelta(hours=5)).deleted == [pack]
    assert content(store, second) == [theirs]


@pytest.mark.parametrize("what", ["index", "pack", "manifest", "a manifest that is not there"])
def test_whole_files_that_are_lost(store, capture, memory_backend, tmp_path, what):
    chunks = [os.urandom(CHUNK) for _ in range(2)]
    key = capture("g-1", *chunks)
    other = mirror(store, key, memory_backend, tmp_path)
    store.cache = None
    ends = {"index": ".index", "pack": ".pack"}.get(what, "manifest.json")
    (lost,) = [entry.key for entry in store.backend.list("") if entry.key.endswith(ends)]
    if what.startswith("a "):
        store.backend.delete(lost)
    else:
        store.backend.put(lost, b"nonsense")
    with pytest.raises(ArtifactError):
        mend(store, key, [])
    mend(store, key, [other])
    assert content(store, key) == chunks


def test_what_nobody_has_stays_lost_and_is_said(store, capture):
    key = capture("g-1", os.urandom(CHUNK), KEEP)
    store.cache = None
    damage(store, 3)
    with pytest.raises(
        ArtifactError, match="has changed; nobody else has it: artifact g-1 is not whole: 1 of 2 chunks are missing"
    ):
        mend(store, key, [])


def test_a_source_that_is_damaged_is_not_believed(store, capture, memory_backend, tmp_path):
    key = capture("g-1", os.urandom(CHUNK))
    bad, good = (mirror(store, key, memory_backend, tmp_path / name) for name in ("bad", "good"))
    damage(bad, 9)
    store.cache = None
    damage(store, 3)
    assert mend(store, key, [bad, good]).chunks == 1
    store.verify(*key)


def test_only_places_that_the_agent_was_given_are_read(store, capture, tmp_path):
    key, place = capture("g-1", os.urandom(CHUNK)), str(tmp_path / "mirror")
    copy(store, Store.at(tmp_path / "mirror"), *key)
    store.cache = None
    damage(store, 3)
    mender = Mender(store, (place,), tmp_path)
    with pytest.raises(UsageError, match="/etc is no store that agents may read for repairs"):
        mender(key, ["/etc"], lambda done, total: None)
    assert mender(key, [place], lambda done, total: None).chunks == 1


def test_a_cache_that_is_too_small_holds_nothing(store, capture, tmp_path):
    key = capture("g-1", *(os.urandom(CHUNK) for _ in range(3)))
    store.cache = PieceCache(tmp_path / "small", CHUNK // 2)
    with store.open(*key) as artifact:
        assert stage(artifact, store.cache, lambda done, total: None) == (0, 3 * CHUNK)


def test_ceilings_are_measured_once_and_the_fastest_read_counts(tmp_path, monkeypatch):
    first = Ceilings(tmp_path)
    first.prepare()
    assert first.status()["copyBytesPerSecond"] > 0
    assert first.status()["hashBytesPerSecond"] > 0
    assert first.status()["storeReadBytesPerSecond"] is None
    first.read(1000, 1e-9)  # Too little to say anything.
    first.phases({"fill": 2.0, "criu": 1.0}, {"fill": 4 << 30})
    first.read(1 << 30, 1.0)
    assert first.status()["storeReadBytesPerSecond"] == 2 << 30
    monkeypatch.setattr("chrek_agent.node.ceilings.measure", lambda threads: pytest.fail("measured again"))
    again = Ceilings(tmp_path)
    again.prepare()
    assert again.status() == first.status()
    monkeypatch.setattr(
        "chrek_agent.node.ceilings.measure", lambda threads: {"copyBytesPerSecond": 1, "hashBytesPerSecond": 1 << 60}
    )
    os.utime(tmp_path / "ceilings.json", (0, 0))
    later = Ceilings(tmp_path)
    later.prepare()
    assert later.status() == first.status() | {"hashBytesPerSecond": 1 << 60}
    (tmp_path / "ceilings.json").write_text('{"threads": 4096, "copyBytesPerSecond": 1}')
    monkeypatch.setattr("chrek_agent.node.ceilings.measure", lambda threads: {"copyBytesPerSecond": 7, "hashBytesPerSecond": 8})
    elsewhere = Ceilings(tmp_path)
    elsewhere.prepare()
    assert elsewhere.status() == {"copyBytesPerSecond": 7, "hashBytesPerSecond": 8, "storeReadBytesPerSecond": None}
