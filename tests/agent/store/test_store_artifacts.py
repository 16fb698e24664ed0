"""Artifacts: what was captured comes back whole, or not at all."""

import json
import os
import random
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle, pairwise

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.store import index
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.model import digest_manifest
from chrek_agent.store.protection import Protection
from chrek_agent.store.sealing import Keyring
from chrek_agent.store.store import Store, new_generation

HASH = "5941a4cb3c363457"
TEXT = b"the heap compresses, " * 30000
FILES = {
    "images/core-1.img": b"small",
    "images/empty.img": b"",
    "rootfs.tar": os.urandom(CHUNK + 5000) + bytes(3 * CHUNK) + b"end",
    "zeros": bytes(CHUNK + 1),
    "shm.tar": TEXT,
}
MEMORY = {
    ("private", 7, 0x7F0000000000): os.urandom(2 * CHUNK + PAGE),
    ("private", 7, 0x10000): bytes(PAGE) + b"x" * PAGE + bytes(CHUNK) + TEXT[:PAGE],
    ("shared", 0, 0): bytes(3 * PAGE),
    ("private", 8, 0x10000): bytes(PAGE) + b"y" * PAGE,
}


@pytest.fixture(params=["raw", "zstd", "sealed"])
def store(request, tmp_path):
    plain = Store.at(tmp_path / "store", compress=request.param == "zstd")
    if request.param == "sealed":
        return Store(plain.backend, plain.scratch, compress=True, protection=Protection(Keyring(bytes(32))))
    return plain


@pytest.fixture
def commit(tmp_path, make_fields):
    """Commits an artifact; returns its manifest and digest."""

    def make(store, generation="g-1", files=FILES, memory=MEMORY, uid="uid-1"):
        with store.begin(generation) as writer:
            for number, (path, content) in enumerate(files.items()):
                source = tmp_path / f"source-{number}"
                source.write_bytes(content)
                writer.add_file(path, source)
            for place, content in memory.items():
                run = writer.add_run(*place)
                for start in range(0, len(content), CHUNK):
                    run.write(memoryview(content)[start : start + CHUNK])
                run.close()
            return writer.commit(make_fields(uid))

    return make


def content_of(artifact, run):
    content = bytearray(run.length)
    for chunk in artifact.chunks(run):
        dense = artifact.fetch(chunk)
        artifact.check(chunk, dense)
        for offset, data in artifact.pieces(chunk, dense):
            content[chunk.offset + offset : chunk.offset + offset + len(data)] = data
    return bytes(content)


def packs_of(store):
    return sorted((store.backend.base / "packs").glob("*.pack"))


def test_what_is_committed_is_read_back(store, commit, tmp_path):
    manifest, digest = commit(store)
    seen = []
    with store.open(HASH, "g-1", digest) as artifact:
        assert artifact.manifest == manifest
        artifact.verify(lambda done, total: seen.append((done, total)))
        (tmp_path / "out").mkdir()
        artifact.materialise(tmp_path / "out")
        assert {(run.kind, run.owner, run.start): content_of(artifact, run) for run in manifest.memory} == MEMORY
    assert {path: (tmp_path / "out" / path).read_bytes() for path in FILES} == FILES
    assert manifest.size == sum(map(len, [*FILES.values(), *MEMORY.values()]))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1] == {total for _, total in seen}.pop()
    assert store.verify(HASH, "g-1", digest) == manifest


@pytest.mark.parametrize("store", ["raw", "zstd"], indirect=True)
def test_zero_pages_are_not_stored_and_chunks_begin_at_pages(store, commit):
    content = bytes(CHUNK) + bytes(7 * PAGE) + os.urandom(PAGE) + bytes(CHUNK - 8 * PAGE) + b"end"
    manifest, digest = commit(store, files={"file": content}, memory={})
    assert manifest.sizes.stored == 2 * PAGE == sum(path.stat().st_size for path in packs_of(store))
    with store.open(HASH, "g-1", digest) as artifact:
        first, last = artifact.chunks(manifest.files["file"])
        assert (first.offset, first.extents, last.offset, last.length) == (CHUNK, [(7 * PAGE, PAGE)], 2 * CHUNK, 3)
        for chunk in (first, last):
            assert chunk.place.offset % PAGE == 0
            raw = chunk.place.path.read_bytes()[chunk.place.offset :][: chunk.place.stored]
            assert bytes(artifact.fetch(chunk)) == raw


def test_compression_is_for_what_compresses(tmp_path, commit):
    plain, small = Store.at(tmp_path / "plain"), Store.at(tmp_path / "small", compress=True)
    first, _ = commit(plain)
    second, digest = commit(small)
    assert second.files == first.files
    assert second.sizes.stored < first.sizes.stored - len(TEXT) // 2
    with small.open(HASH, "g-1", digest) as artifact:
        assert {chunk.place.codec for chunk in artifact.chunks(second.files["shm.tar"])} == {"zstd"}
        (_, weights, *_) = (run for run in second.memory if run.length > CHUNK)
        assert {chunk.place.codec for chunk in artifact.chunks(weights)} <= {"raw", "zstd"}


def test_a_second_capture_stores_only_what_is_new(store, commit):
    first, _ = commit(store)
    second, digest = commit(store, "g-2", memory=MEMORY | {("private", 9, 0): os.urandom(PAGE)})
    assert second.sizes.stored == PAGE
    assert set(first.packs) < set(second.packs)
    store.delete(HASH, {"g-1"})
    store.verify(HASH, "g-2", digest)


def test_many_threads_write_one_run(store, make_fields):
    content = os.urandom(8 * CHUNK) + bytes(CHUNK) + os.urandom(PAGE)
    with store.begin("g-1") as writer, ThreadPoolExecutor(6) as pool:
        runs = [writer.add_run("private", owner, 0) for owner in range(3)]
        starts = list(range(0, len(content), CHUNK))
        random.Random(7).shuffle(starts)
        list(
            pool.map(
                lambda job: job[0].write(memoryview(content)[job[1] : job[1] + CHUNK], job[1]),
                zip(cycle(runs[:1]), starts, strict=False),
            )
        )

        def hand_over(run):
            for start in range(0, len(content), CHUNK):
                buffer = writer.buffer()
                piece = content[start : start + CHUNK]
                buffer.view[: len(piece)] = piece
                run.submit(buffer, len(piece))

        list(pool.map(hand_over, runs[1:]))
        for run in runs:
            run.close()
        manifest, digest = writer.commit(make_fields())
        assert writer.seen_bytes == 3 * len(content)
    assert manifest.sizes.stored == 8 * CHUNK + PAGE
    with store.open(HASH, "g-1", digest) as artifact:
        assert [content_of(artifact, run) for run in manifest.memory] == [content] * 3


def test_no_more_than_64_mib_are_in_flight(store):
    with store.begin("g-1") as writer:
        buffers = [writer.buffer() for _ in range(32)]
        assert sum(len(buffer.view) for buffer in buffers) == 64 << 20
        waiting = threading.Thread(target=lambda: buffers.append(writer.buffer()))
        waiting.start()
        assert waiting.is_alive()
        assert len(buffers) == 32
        buffers[0].release()
        waiting.join()
        assert buffers[32] is buffers[0]


def test_a_large_capture_fills_several_packs(store, commit, monkeypatch):
    monkeypatch.setattr("chrek_agent.store.deposit.PACK_BYTES", 2 * CHUNK)
    manifest, digest = commit(store, files={}, memory={("private", 1, 0): os.urandom(9 * CHUNK)})
    assert sorted(path.stat().st_size for path in packs_of(store)) == [CHUNK] + [2 * CHUNK] * 4
    assert len(manifest.packs) == 5
    store.verify(HASH, "g-1", digest)


def test_nothing_is_open_to_others_and_staging_is_cleared(store, commit):
    os.umask(os.umask(0o022))
    with store.begin("g-0") as writer:
        assert stat.S_IMODE(writer.staging.stat().st_mode) == 0o700
        assert list(writer.staging.iterdir()) == []
        (writer.staging / "core.img").write_bytes(b"")
    assert not writer.staging.exists()
    commit(store)
    for path in (store.backend.base, *store.backend.base.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    assert list(store.scratch.iterdir()) == []


def test_an_abandoned_capture_leaves_nothing(store, commit):
    with store.begin("g-1") as writer:
        run = writer.add_run("private", 1, 0)
        run.write(memoryview(os.urandom(CHUNK)))
    assert [path for path in store.backend.base.rglob("*") if path.is_file()] == []
    writer.abandon()
    _, digest = commit(store)
    store.verify(HASH, "g-1", digest)


def test_a_dead_captures_staging_is_discarded(store):
    writer = store.begin("g-1")
    (writer.staging / "core.img").write_bytes(b"x")
    store.discard_staging("g-1")
    store.discard_staging("g-1")
    assert not writer.staging.exists()
    writer.abandon()


def test_a_generation_is_never_committed_over_another(store, commit):
    manifest, digest = commit(store)
    with pytest.raises(FileExistsError):
        commit(store, memory={})
    assert store.verify(HASH, "g-1", digest) == manifest


def test_pieces_that_do_not_fit_are_refused(store, make_fields, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    page = memoryview(bytes(PAGE))
    with store.begin("g-1") as writer:
        run = writer.add_run("private", 1, 0)
        with pytest.raises(ValueError, match="is not closed"):
            writer.commit(make_fields())
        for data, offset in ((page, PAGE), (page[:0], 0), (memoryview(bytes(CHUNK + PAGE)), 0)):
            with pytest.raises(ValueError, match="fits at"):
                run.write(data, offset)
        with pytest.raises(ValueError, match="no run has 0 bytes"):
            run.close()
        run.write(page, 2 * CHUNK)
        with pytest.raises(ValueError, match="fits at"):
            run.write(page, 2 * CHUNK)
        run.close()
        with pytest.raises(ValueError, match="pieces are missing"):
            writer.commit(make_fields())
        for path in ("", "/etc/passwd", "a/../b", "a//b", "./a", "a\0b"):
            with pytest.raises(ValueError, match="cannot be added"):
                writer.add_file(path, tmp_path / "file")
        writer.add_file("file", tmp_path / "file")
        with pytest.raises(ValueError, match="cannot be added"):
            writer.add_file("file", tmp_path / "file")


@pytest.mark.parametrize("sizes", [[PAGE, CHUNK], [PAGE, PAGE, PAGE]])
def test_only_the_last_piece_may_be_short(store, make_fields, sizes):
    with store.begin("g-1") as writer:
        run = writer.add_run("private", 1, 0)
        for size in sizes:
            run.write(memoryview(bytes(size)))
        run.close()
        with pytest.raises(ValueError, match="pieces are missing"):
            writer.commit(make_fields())


def test_runs_that_overlap_are_no_artifact(store, commit):
    with pytest.raises(ValueError, match="runs overlap"):
        commit(store, memory={("private", 1, 0): b"x" * 2 * PAGE, ("private", 1, PAGE): b"x" * PAGE})
    assert store.find(HASH, "uid-1") == []


def test_a_store_that_is_full_fails_the_capture_and_nothing_hangs(tmp_path, memory_backend, faulty, make_fields):
    backend = faulty(memory_backend())
    store = Store(backend, tmp_path / "scratch")
    backend.arm({4: "fail before"})

    def capture():
        with store.begin("g-1") as writer:
            run = writer.add_run("private", 1, 0)
            for _ in range(200):
                buffer = writer.buffer()
                buffer.view[:16] = os.urandom(16)
                run.submit(buffer, CHUNK)
            run.close()
            writer.commit(make_fields())

    with pytest.raises(OSError, match="fault"):
        capture()
    assert backend.inner.objects == {}
    assert backend.inner.unfinished == {}


def damage(path, generator):
    content = bytearray(path.read_bytes())
    kind = generator.choice(["flip", "flip", "flip", "cut", "grow", "swap", "zero", "remove"])
    position = generator.randrange(len(content))
    if kind == "flip":
        content[position] ^= 1 << generator.randrange(8)
    elif kind == "cut":
        del content[position:]
    elif kind == "grow":
        content[position:position] = generator.randbytes(generator.choice([1, PAGE]))
    elif kind == "swap":
        other = (position + len(content) // 2) % len(content)
        content[position], content[other] = content[other], content[position]
    elif kind == "zero":
        content[position : position + 8] = bytes(len(content[position : position + 8]))
    changed = kind == "remove" or bytes(content) != path.read_bytes()
    path.unlink() if kind == "remove" else path.write_bytes(content)
    return changed


SMALL = {"memory": {("private", 1, 0): bytes(PAGE) + TEXT[: 5 * PAGE], ("private", 2, 0): random.Random(1).randbytes(2 * PAGE)}}


def test_no_damage_to_any_byte_goes_unseen(store, commit):
    _, digest = commit(store, files={"a/b": b"x" * 5000}, **SMALL)
    files = [path for path in store.backend.base.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".index", ".pack"}
    before = {path: path.read_bytes() for path in files}
    generator = random.Random(42)
    for number in range(300):
        path = files[number % len(files)]
        if damage(path, generator):
            with pytest.raises(ArtifactError) as caught:
                store.verify(HASH, "g-1", digest)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 400
        path.write_bytes(before[path])
    store.verify(HASH, "g-1", digest)


@pytest.mark.parametrize("reads", ["fetch", "materialise"])
def test_damage_that_comes_after_the_opening_is_found_by_those_who_read(store, commit, tmp_path, reads):
    manifest, digest = commit(store, files={"file": b"x" * 9000}, memory={})
    with store.open(HASH, "g-1", digest) as artifact:
        (pack,) = packs_of(store)
        os.truncate(pack, 10)
        chunk = next(artifact.chunks(manifest.files["file"]))
        with pytest.raises(ArtifactError, match=f"pack {pack.stem}"):
            artifact.fetch(chunk) if reads == "fetch" else artifact.materialise(tmp_path)


def test_an_index_that_points_at_other_bytes_is_caught(store, commit):
    _, digest = commit(store, files={}, memory={("private", 1, 0): os.urandom(CHUNK), ("private", 2, 0): os.urandom(CHUNK)})
    (pack,) = packs_of(store)
    told = index.parse_index(pack.stem, pack.with_suffix(".index").read_bytes())
    (one, two) = told.records.values()
    lie = {one.digest: one._replace(digest=two.digest), two.digest: two._replace(digest=one.digest)}
    pack.with_suffix(".index").write_bytes(index.dump_index(replace(told, records=lie)))
    with pytest.raises(ArtifactError, match=r"has changed|not what was sealed there"):
        store.verify(HASH, "g-1", digest)


def test_another_artifacts_pack_under_this_name_is_caught(store, commit, tmp_path):
    _, digest = commit(store, **SMALL)
    other = Store.at(tmp_path / "other")
    commit(other, files={}, memory={("private", 1, 0): b"z" * PAGE})
    for suffix in (".pack", ".index"):
        packs_of(store)[0].with_suffix(suffix).write_bytes(packs_of(other)[0].with_suffix(suffix).read_bytes())
    with pytest.raises(ArtifactError, match="another pack's"):
        store.verify(HASH, "g-1", digest)


def test_files_that_do_not_belong_to_it_are_found(store, commit):
    _, digest = commit(store, **SMALL)
    store.backend.put(f"{HASH}/g-1/extra", b"")
    with pytest.raises(ArtifactError, match="extra does not belong to it"):
        store.verify(HASH, "g-1", digest)


def test_a_link_in_place_of_a_pack_or_manifest_is_corruption(store, commit, tmp_path):
    _, digest = commit(store, **SMALL)
    for number, path in enumerate([packs_of(store)[0], store.backend.base / HASH / "g-1" / "manifest.json"]):
        path.rename(tmp_path / f"outside-{number}")
        path.symlink_to(tmp_path / f"outside-{number}")
        with pytest.raises(ArtifactError):
            store.open(HASH, "g-1", digest)


def forged(store, change):
    """Rewrites the manifest and opens it with its new digest, as one who can also edit the status would."""
    path = store.backend.base / HASH / "g-1" / "manifest.json"
    body = json.loads(path.read_text())
    change(body)
    content = json.dumps(body).encode()
    path.write_bytes(content)
    return store.verify(HASH, "g-1", digest_manifest(content))


def move(name):
    return lambda body: body["files"].update({name: body["files"].pop("a/b")})


FORGERIES = {
    "nothing": lambda body: body.update(format=3),
    "unknown field": lambda body: body.update(flavour=7),
    "missing field": lambda body: body.pop("packs"),
    "generation": lambda body: body.update(generation="g-2"),
    "hash": lambda body: body.update(identity_hash="0" * 16),
    "file size": lambda body: body["files"]["a/b"].update(size=5 << 20),
    "negative size": lambda body: body["files"]["a/b"].update(size=-1),
    "other size": lambda body: (body["files"]["a/b"].update(size=4999), body["sizes"].update(logical=body["sizes"]["logical"] - 1)),
    "sum of sizes": lambda body: body["sizes"].update(logical=1),
    "digest": lambda body: body["files"]["a/b"].update(chunks=["0" * 64]),
    "short digest": lambda body: body["files"]["a/b"].update(chunks=["0" * 63]),
    "no digest": lambda body: body["files"]["a/b"].update(chunks=["../../etc/passwd"]),
    "no page": lambda body: body["memory"][0].update(start=1),
    "no run": lambda body: body["memory"][0].update(length=0, chunks=[]),
    "kind": lambda body: body["memory"][0].update(kind="../x"),
    "overlap": lambda body: body["memory"].append(body["memory"][0]),
    "pack": lambda body: body.update(packs=["../../x"]),
    "below a file": lambda body: body["files"].update({"a/b/c": {"size": 0, "chunks": []}}),
    **{f"path {name!r}": move(name) for name in ("", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "a/.", "a\0b")},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_manifest_is_refused(store, commit, name):
    commit(store, files={"a/b": b"x" * 5000}, **SMALL)
    with pytest.raises(ArtifactError):
        forged(store, FORGERIES[name])


def test_a_forgery_that_changes_nothing_is_accepted(store, commit):
    commit(store, files={"a/b": b"x" * 5000}, **SMALL)
    assert forged(store, lambda body: body["phases"].update(dump=1.0)).phases == {"dump": 1.0}


def test_only_the_manifest_in_the_status_is_believed(store, commit):
    _, digest = commit(store)
    with pytest.raises(ArtifactError, match="not the one that was committed"):
        store.open(HASH, "g-1", "0" * 64)
    base = store.backend.base
    (base / HASH / "g-1").rename(base / HASH / "g-2")
    with pytest.raises(ArtifactError):
        store.open(HASH, "g-2", digest)
    (base / HASH).rename(base / ("0" * 16))
    with pytest.raises(ArtifactError, match="has no manifest"):
        store.open(HASH, "g-1", digest)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".staging", "a\0b"])
def test_names_from_users_stay_inside_the_store(store, commit, name):
    commit(store, **SMALL)
    for call in (
        lambda: store.open(name, "g-1", ""),
        lambda: store.open(HASH, name, ""),
        lambda: store.delete(name, {"g-1"}),
        lambda: store.delete(HASH, {name}),
        lambda: store.find(name, "uid-1"),
        lambda: store.belongs(HASH, name, "uid-1"),
        lambda: store.begin(name),
        lambda: store.discard_staging(name),
    ):
        with pytest.raises(ArtifactError, match="names no artifact"):
            call()
    assert len(store.find(HASH, "uid-1")) == 1


def test_deleting_takes_the_artifact_and_leaves_its_neighbours(store, commit):
    commit(store, "g-1", **SMALL)
    _, digest = commit(store, "g-2", **SMALL)
    assert store.delete(HASH, {"g-1", "g-3"}) == 1
    assert [path.name for path in (store.backend.base / HASH).iterdir()] == ["g-2"]
    store.verify(HASH, "g-2", digest)
    assert store.delete(HASH, {"g-2"}) == 1
    assert not (store.backend.base / HASH).exists()
    assert store.delete(HASH, {"g-2"}) == 0


def test_a_checkpoint_finds_its_own_artifacts_oldest_first(store, commit):
    for generation, uid in (("b", "uid-1"), ("a", "uid-1"), ("c", "uid-2"), ("d", "uid-1")):
        commit(store, generation, uid=uid, **SMALL)
    store.backend.put(f"{HASH}/d/manifest.json", b"{}")
    assert [found.generation for found in store.find(HASH, "uid-1")] == ["a", "b"]
    assert store.find("0" * 16, "uid-1") == []
    assert store.belongs(HASH, "a", "uid-1")
    assert not store.belongs(HASH, "c", "uid-1")
    assert store.belongs(HASH, "d", "uid-1")


def test_generations_sort_by_time_and_never_meet():
    times = [datetime(2026, 1, 29, hour, tzinfo=UTC) for hour in (9, 10, 11)]
    names = [new_generation(time) for time in times]
    assert all(one < two for one, two in pairwise(names))
    assert new_generation(times[0]) != names[0]
