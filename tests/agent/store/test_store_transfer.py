"""Artifacts that travel: the same bytes arrive, or no artifact does; what came is not sent twice."""

import io
import os
import random
from itertools import islice

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.codec import RAW
from chrek_agent.store.index import Record
from chrek_agent.store.store import Store
from chrek_agent.store.transfer import receiving as module
from chrek_agent.store.transfer.copying import copy
from chrek_agent.store.transfer.labels import to_part
from chrek_agent.store.transfer.receiving import Receiving, opening, receive
from chrek_agent.store.transfer.sending import Sending
from kubectl_chrek.api import artifact_file
from kubectl_chrek.api.artifact_file import CHUNK as CHUNK_PART
from kubectl_chrek.api.artifact_file import (
    END,
    HEAD,
    MAGIC,
    MANIFEST,
    OBJECT,
    ArtifactFileError,
    CutError,
    Part,
    document,
    read_parts,
)

HASH = "5941a4cb3c363457"
SAME = os.urandom(CHUNK)
FILES = {"images/a.img": b"small", "rootfs.tar": SAME + bytes(CHUNK) + SAME + b"end", "zeros": bytes(5)}
MEMORY = {
    ("private", 7, 0x10000): b"heap " * 700000 + bytes(-3500000 % PAGE),
    ("private", 8, 0): SAME[:PAGE] + bytes(PAGE) + SAME[:PAGE],
}


@pytest.fixture
def source(tmp_path):
    return Store.at(tmp_path / "source")


@pytest.fixture
def target(tmp_path):
    return Store.at(tmp_path / "target")


@pytest.fixture
def commit(tmp_path, make_fields):
    def make(store, generation="g-1", files=FILES, memory=MEMORY):
        with store.begin(generation) as writer:
            for path, content in files.items():
                (tmp_path / "file").write_bytes(content)
                writer.add_file(path, tmp_path / "file")
            for place, content in memory.items():
                run = writer.add_run(*place)
                for start in range(0, len(content), CHUNK):
                    run.write(memoryview(content)[start : start + CHUNK])
                run.close()
            return writer.commit(make_fields("uid-1"))

    return make


def exported(store, digest, generation="g-1", *, squeeze=False, skip=None):
    with Sending(store, HASH, generation, digest, squeeze=squeeze) as sending:
        parts = b"".join(bytes(piece) for part in sending.parts(skip) for piece in part.pieces)
    return MAGIC + parts if skip is None else parts


def imported(store, content):
    return receive(store, read_parts(io.BytesIO(content)))


def boundaries(content):
    """Where each part ends."""
    source = io.BytesIO(content)
    return [source.tell() for _ in read_parts(source)]


@pytest.mark.parametrize("squeeze", [False, True])
def test_what_is_exported_is_imported(source, target, commit, tmp_path, squeeze):
    manifest, digest = commit(source)
    content = exported(source, digest, squeeze=squeeze)
    received = imported(target, content)
    assert (received.manifest, received.digest, received.fresh) == (manifest, digest, True)
    assert received.chunks == len(manifest.digests())
    assert target.verify(HASH, "g-1", digest) == manifest
    (tmp_path / "out").mkdir()
    with target.open(HASH, "g-1", digest) as artifact:
        artifact.materialise(tmp_path / "out")
    assert {path: (tmp_path / "out" / path).read_bytes() for path in FILES} == FILES
    raw = sum(map(len, {SAME, b"end", b"small"})) + 3500000
    assert (len(content) < raw) == squeeze  # Each chunk travels once, zeros do not, and a heap is compressed if so asked.


def test_it_may_be_imported_again(source, target, commit):
    _, digest = commit(source)
    content = exported(source, digest)
    imported(target, content)
    before = [entry.key for entry in target.backend.list("")]
    again = imported(target, content)
    assert (again.fresh, again.chunks, again.bytes) == (False, 0, 0)
    assert [entry.key for entry in target.backend.list("")] == before


def test_what_the_store_has_is_not_stored_again(source, target, commit):
    commit(target, "g-0", {"other": SAME}, {})
    manifest, digest = commit(source)
    received = imported(target, exported(source, digest))
    assert received.chunks == len(manifest.digests()) - 1
    target.verify(HASH, "g-1", digest)


def test_a_file_cut_anywhere_leaves_no_artifact_and_is_continued(source, target, commit):
    _, digest = commit(source)
    content = exported(source, digest)
    ends = boundaries(content)
    cuts = {0, 5, len(MAGIC), len(content) - 1, *ends[:-1], *(end + 7 for end in ends[:-1]), *(end - 1 for end in ends)}
    total = len(ends) - 3
    for cut in sorted(cuts):
        with pytest.raises(CutError, match="ends before its end"):
            imported(target, content[:cut])
        assert not target.find(HASH, "uid-1")
    # Of the longest of them all chunks were kept, so that none has to be sent again.
    assert total > 3
    received = imported(target, content[: ends[1]] + content[ends[-2] :])
    assert received.fresh
    target.verify(HASH, "g-1", digest)


def test_half_a_file_is_half_of_the_work(source, target, commit):
    _, digest = commit(source)
    content = exported(source, digest)
    ends = boundaries(content)
    with pytest.raises(CutError):
        imported(target, content[: ends[3]])  # Head, manifest, two chunks.
    parts = read_parts(io.BytesIO(content))
    with Receiving(target, *opening(parts)) as receiving:
        lacked = [receiving.lacks(module.named(part)) for part in parts if part.kind == CHUNK_PART]
    assert lacked == [False, False] + [True] * (len(ends) - 5)


def test_an_export_is_continued_where_it_was_cut(source, commit):
    _, digest = commit(source)
    content = exported(source, digest)
    ends = boundaries(content)
    for chunks in range(1, len(ends) - 2):
        assert content[: ends[1 + chunks]] + exported(source, digest, skip=chunks) == content


def test_a_flipped_bit_is_never_imported(source, target, commit):
    _, digest = commit(source, files={"a": b"small", "b": SAME[: 3 * PAGE]}, memory={})
    content = exported(source, digest)
    ends = boundaries(content)
    chosen = random.Random(5)
    inside = range(ends[1], ends[-2])
    places = [*range(ends[0] + 20), *chosen.sample(range(len(content)), 150), *chosen.sample(inside, 50)]
    refused = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << chosen.randrange(8)
        try:
            imported(target, bytes(damaged))
        except (ArtifactError, ArtifactFileError):
            refused += 1
            assert not target.find(HASH, "uid-1")
        else:
            target.verify(HASH, "g-1", digest)  # What an earlier attempt has kept makes up for the damage.
            target.delete(HASH, {"g-1"})
            target.backend.delete(next(entry.key for entry in target.backend.list("packs/") if entry.key.endswith(".index")))
    assert refused > 100


def test_a_damaged_chunk_stops_the_import_and_the_good_ones_stay(source, target, commit):
    _, digest = commit(source)
    content = bytearray(exported(source, digest))
    ends = boundaries(bytes(content))
    whole = bytes(content)
    content[ends[2] - 1] ^= 1
    with pytest.raises(ArtifactError, match=r"chunk [0-9a-f]{16} in the file is damaged"):
        imported(target, bytes(content))
    assert not target.find(HASH, "uid-1")
    assert imported(target, whole).fresh


def test_parts_that_lie(source, target, commit):
    _, digest = commit(source)
    content = exported(source, digest)
    head, manifest, *_ = read_parts(io.BytesIO(content))
    data = b"x" * PAGE
    stranger = to_part(Record(bytes(32), 0, PAGE, PAGE, RAW, (1).to_bytes(64, "little")), RAW, data)

    def stream(*parts):
        return receive(target, iter(parts))

    with pytest.raises(ArtifactError, match="does not begin with a manifest"):
        stream(head, stranger)
    with pytest.raises(ArtifactFileError, match="head is not understood"):
        stream(manifest, head)
    with pytest.raises(ArtifactError, match="not the one that its head names"):
        stream(head, document(MANIFEST, bytes(manifest.content) + b" "))
    with pytest.raises(ArtifactError, match="out of order"):
        stream(head, manifest, head)
    with pytest.raises(ArtifactError, match="should be a chunk is none"):
        stream(head, manifest, Part(CHUNK_PART, b"short", data))
    with pytest.raises(ArtifactError, match="is not whole: 6 of 6 chunks are missing"):
        stream(head, manifest, stranger, document(END, b"{}"))
    with pytest.raises(ArtifactFileError, match="what should be a part"):
        imported(target, MAGIC + artifact_file.PART.pack(CHUNK_PART, 101, 1 << 40))
    assert not target.find(HASH, "uid-1")


def test_another_artifact_of_the_same_name_is_left_alone(source, target, commit):
    _, digest = commit(source)
    other, _ = commit(target, files={"a": b"other"}, memory={})
    with pytest.raises(ArtifactError, match=f"the store has another artifact {HASH}/g-1"):
        imported(target, exported(source, digest))
    assert target.find(HASH, "uid-1") == [other]


def test_a_checkpoint_may_travel_in_front(source, target, commit):
    _, digest = commit(source)
    content = exported(source, digest)
    first = boundaries(content)[0]
    note = b"".join(document(OBJECT, b'{"spec": {}}').pieces)
    assert imported(target, content[:first] + note + content[first:]).fresh


def test_a_copy_reads_only_what_the_other_store_lacks(source, target, commit, monkeypatch):
    commit(target, "g-0", {"other": SAME}, {})
    manifest, digest = commit(source)
    read = []
    part = Sending._part
    monkeypatch.setattr(Sending, "_part", lambda self, chunk: read.append(chunk.digest) or part(self, chunk))
    received = copy(source, target, HASH, "g-1", digest)
    assert len(read) == len(set(read)) == received.chunks == len(manifest.digests()) - 1
    assert target.verify(HASH, "g-1", digest) == manifest
    assert not copy(source, target, HASH, "g-1", digest).fresh


def test_a_copy_mends_an_artifact_whose_pack_is_gone(source, target, commit):
    _, digest = commit(source)
    copy(source, target, HASH, "g-1", digest)
    pack = next(entry.key for entry in target.backend.list("packs/") if entry.key.endswith(".pack"))
    target.backend.delete(pack)
    with pytest.raises(ArtifactError):
        target.verify(HASH, "g-1", digest)
    received = copy(source, target, HASH, "g-1", digest)
    assert received.chunks > 0
    assert not received.fresh
    target.verify(HASH, "g-1", digest)


def test_a_damaged_artifact_is_not_exported(source, commit, tmp_path):
    _, digest = commit(source)
    pack = next((tmp_path / "source" / "packs").glob("*.pack"))
    pack.write_bytes(bytes(pack.stat().st_size))
    with pytest.raises(ArtifactError, match="has changed"):
        exported(source, digest)


@pytest.mark.parametrize("event", ["fail before", "fail after"])
def test_a_store_that_refuses_anything_holds_a_whole_artifact_or_none(source, commit, faulty, memory_backend, tmp_path, event):
    _, digest = commit(source, files={"a": b"small"}, memory={})
    content = exported(source, digest)
    number, calls = 0, 1
    while number < calls:  # Each call in turn fails, until there is none left to fail.
        backend = faulty(memory_backend())
        store = Store(backend, tmp_path / "scratch")
        backend.arm({number: event})
        try:
            imported(store, content)
        except (ArtifactError, OSError):
            backend.arm({})
            if store.find(HASH, "uid-1"):
                store.verify(HASH, "g-1", digest)
            assert imported(store, content).digest == digest
        backend.arm({})
        calls = len(backend.calls) if number == 0 else calls
        store.verify(HASH, "g-1", digest)
        number += 1
    assert calls > 5


def test_a_stop_in_the_middle_ends_the_reading(source, commit):
    _, digest = commit(source)
    with Sending(source, HASH, "g-1", digest, squeeze=False) as sending:
        parts = sending.parts()
        assert [part.kind for part in islice(parts, 3)] == [HEAD, MANIFEST, CHUNK_PART]
        parts.close()
