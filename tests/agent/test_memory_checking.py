"""Chunks that are compared with their digests by processes of their own."""

import os
import random
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.memory import checking
from chrek_agent.memory.checking import Checkers
from chrek_agent.memory.pool import Stopped
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store

HASH = "ab" * 8


@pytest.fixture
def artifact(tmp_path):
    content = bytearray(random.Random(3).randbytes(3 * CHUNK + 100))
    content[CHUNK + 8192 : CHUNK + 65536] = bytes(65536 - 8192)
    (tmp_path / "file").write_bytes(content)
    store = Store.at(tmp_path / "store")
    with store.begin("g") as writer:
        writer.add_file("file", tmp_path / "file")
        source = Source(node="", pod="", container="", image="", image_id="", worker=1, pids=[1], pipes={})
        fields = {"identity": {}, "created_at": datetime.now(UTC), "compatibility": {}, "deleted": []}
        owner = Owner(namespace="n", name="n", uid="u")
        _, digest = writer.commit(Fields(identity_hash=HASH, owner=owner, source=source, **fields))
    with store.open(HASH, "g", digest) as found:
        yield found


@pytest.fixture
def chunks(artifact, monkeypatch):
    """All of them, on a machine on which two checkers are worth while."""
    monkeypatch.setattr(checking.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    return list(artifact.chunks(artifact.manifest.files["file"]))


def check(artifact, chunks, stop=None):
    with closing(Checkers(1 << 40)) as checkers:
        checkers.check(artifact, chunks, stop=stop or threading.Event())


def test_the_checkers_do_all_of_it(artifact, chunks, monkeypatch):
    monkeypatch.setattr(artifact, "fetch", None)
    check(artifact, chunks)


@pytest.mark.parametrize("number", range(4))
def test_a_chunk_that_has_changed_is_named(artifact, chunks, number):
    place = chunks[number].place
    descriptor = os.open(place.path, os.O_RDWR)
    byte = os.pread(descriptor, 1, place.offset + 5)
    os.pwrite(descriptor, bytes([byte[0] ^ 1]), place.offset + 5)
    os.close(descriptor)
    with pytest.raises(ArtifactError, match=chunks[number].digest.hex()[:16]):
        check(artifact, chunks)


@pytest.mark.parametrize("program", ["/bin/false", "/bin/cat", "/nowhere"])
def test_what_checkers_do_not_do_is_done_all_the_same(artifact, chunks, monkeypatch, program):
    monkeypatch.setattr(checking.sys, "executable", program)
    seen = []
    fetch = artifact.fetch
    monkeypatch.setattr(artifact, "fetch", lambda chunk, buffer: seen.append(chunk.offset) or fetch(chunk, buffer))
    check(artifact, chunks)
    assert sorted(seen) == [0, CHUNK, 2 * CHUNK, 3 * CHUNK]


def test_checkers_can_be_stopped(artifact, chunks):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        check(artifact, chunks, stop)
