"""Whole artifacts in stores that are not on this machine: captured, read back, swept; and what is said when that is impossible."""

import os
import threading
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
import urllib3

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.model import IMAGES
from chrek_agent.store.store import Store

HASH = "5941a4cb3c363457"
REMOTE = ("oci", "s3-moto", "s3-seaweedfs")


@pytest.fixture(params=REMOTE)
def remote(request, servers):
    return getattr(servers, request.param.replace("-", "_"))()


@pytest.fixture
def store(remote, tmp_path):
    return Store(remote, tmp_path / "scratch")


def capture(store, make_fields, generation, *runs, uid="uid-1"):
    with store.begin(generation) as writer:
        (writer.staging / "core-1.img").write_bytes(b"image")
        writer.add_file(f"{IMAGES}/core-1.img", writer.staging / "core-1.img")
        for number, content in enumerate(runs):
            run = writer.add_run("private", 1, number << 32)
            for offset in range(0, len(content), CHUNK):
                piece = content[offset : offset + CHUNK]
                buffer = writer.buffer()
                buffer.view[: len(piece)] = piece
                run.submit(buffer, len(piece), offset)
            run.close()
        return writer.commit(make_fields(uid))


def read(artifact):
    contents = []
    for run in artifact.manifest.memory:
        content = bytearray(run.length)
        for chunk in artifact.chunks(run):
            dense = artifact.fetch(chunk)
            artifact.check(chunk, dense)
            for offset, data in artifact.pieces(chunk, dense):
                content[chunk.offset + offset : chunk.offset + offset + len(data)] = data
        contents.append(bytes(content))
    return contents


def test_an_artifact_goes_there_and_comes_back(store, make_fields, tmp_path):
    content = os.urandom(3 * CHUNK + 5 * PAGE) + bytes(CHUNK)
    manifest, digest = capture(store, make_fields, "g-1", content)
    assert [found.generation for found in store.find(HASH, "uid-1")] == ["g-1"]
    with store.open(HASH, "g-1", digest) as artifact:
        assert artifact.is_remote
        assert read(artifact) == [content]
        artifact.materialise(tmp_path)
    assert (tmp_path / IMAGES / "core-1.img").read_bytes() == b"image"
    assert store.verify(HASH, "g-1", digest) == manifest
    assert store.usage().artifacts[0].unique > 3 * CHUNK


def test_what_is_there_already_is_not_sent_again(store, make_fields):
    content = os.urandom(2 * CHUNK)
    capture(store, make_fields, "g-1", content)
    manifest, _ = capture(store, make_fields, "g-2", content, uid="uid-2")
    assert manifest.sizes.stored == 0


def test_what_nobody_needs_is_swept(store, make_fields):
    capture(store, make_fields, "g-1", os.urandom(CHUNK))
    assert store.delete(HASH, {"g-1"}) == 1
    later = datetime.now(UTC) + timedelta(hours=3)
    assert len(store.sweep(later).tombstoned) > 0
    swept = store.sweep(later + timedelta(hours=3))
    assert len(swept.deleted) > 0
    assert not store.backend.list("")


def test_an_abandoned_capture_leaves_nothing(store, make_fields):
    with store.begin("g-1") as writer:
        run = writer.add_run("private", 1, 0)
        run.write(memoryview(os.urandom(CHUNK)))
    assert store.backend.list("") == []
    assert store.backend.prune(datetime.now(UTC) + timedelta(days=3650)) == 0


def test_chunks_are_read_by_many_threads_at_once(store, make_fields):
    contents = [os.urandom(2 * CHUNK) for _ in range(4)]
    _, digest = capture(store, make_fields, "g-1", *contents)
    with store.open(HASH, "g-1", digest) as artifact:
        found = {}
        threads = [threading.Thread(target=lambda n=n: found.__setitem__(n, read(artifact))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(found.values()) == [contents] * 4


def test_a_pack_that_is_gone_is_said_to_be_gone(store, make_fields):
    manifest, digest = capture(store, make_fields, "g-1", os.urandom(CHUNK))
    for pack in manifest.packs:
        store.backend.delete(f"packs/{pack}.pack")
    with pytest.raises(ArtifactError, match="is missing"):
        store.open(HASH, "g-1", digest)


def test_a_capture_keeps_little_of_it_in_memory(servers, make_fields, tmp_path):
    store = Store(servers.s3_seaweedfs(), tmp_path / "scratch")
    piece = memoryview(bytearray(os.urandom(CHUNK)))
    tracemalloc.start()
    try:
        with store.begin("g-1") as writer:
            run = writer.add_run("private", 1, 0)
            for number in range(32):
                piece[:8] = number.to_bytes(8, "little")
                run.write(piece)
            run.close()
            writer.commit(make_fields())
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


class Late:
    """A place whose listings do not tell of packs yet."""

    def __init__(self, inner):
        self._inner = inner

    def list(self, prefix):
        return [entry for entry in self._inner.list(prefix) if not entry.key.startswith("packs/")]

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_listings_that_are_late_hide_nothing_that_an_artifact_names(remote, make_fields, tmp_path):
    late = Store(Late(remote), tmp_path / "scratch")
    content = os.urandom(3 * CHUNK)
    _, digest = capture(late, make_fields, "g-1", content)
    with late.open(HASH, "g-1", digest) as artifact:
        assert read(artifact) == [content]
    later = datetime.now(UTC) + timedelta(hours=3)
    late.sweep(later)
    late.sweep(later + timedelta(hours=3))
    assert Store(remote, tmp_path / "other").verify(HASH, "g-1", digest)


class Unlisted:
    """A place that must not be asked what it holds: that may be thousands of packs."""

    def __init__(self, inner):
        self._inner = inner

    def list(self, prefix):
        assert prefix.startswith(HASH), "all packs were listed"
        return self._inner.list(prefix)

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_an_artifact_is_opened_and_verified_without_a_look_at_the_others(store, make_fields, tmp_path):
    content = os.urandom(CHUNK)
    manifest, digest = capture(store, make_fields, "g-1", content)
    alone = Store(Unlisted(store.backend), tmp_path / "scratch")
    with alone.open(HASH, "g-1", digest) as artifact:
        assert read(artifact) == [content]
    assert alone.verify(HASH, "g-1", digest) == manifest


def test_a_bucket_that_keeps_old_versions_serves_as_well(servers, make_fields, tmp_path):
    endpoint = servers.s3_moto().bucket.endpoint
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    with urllib3.PoolManager() as client:
        for path, body in (("/versions", b""), ("/versions?versioning", enabled)):
            assert client.request("PUT", f"{endpoint}{path}", body=body).status == 200
    store = Store(servers.s3(endpoint, bucket="versions"), tmp_path / "scratch")
    content = os.urandom(CHUNK)
    capture(store, make_fields, "g-1", content)
    assert store.delete(HASH, {"g-1"}) == 1
    assert store.find(HASH, "uid-1") == []
    _, digest = capture(store, make_fields, "g-1", content)
    with store.open(HASH, "g-1", digest) as artifact:
        assert read(artifact) == [content]
