"""Chunks: zero pages are found and left out, and what is left says exactly what was there."""

import os
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from chrek_agent.errors import ArtifactError
from chrek_agent.store import chunking, codec, index
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.index import Index, Record

PAGES_OF = st.sampled_from(
    [b"\0" * PAGE, b"\0" * (PAGE - 1) + b"x", b"x" + b"\0" * (PAGE - 1), b"\0" * 2000 + b"y" * (PAGE - 2000)]
)
CONTENT = st.tuples(st.lists(PAGES_OF, max_size=12), st.integers(0, PAGE - 1), st.booleans()).map(
    lambda parts: b"".join(parts[0]) + (b"\0" if parts[2] else b"z") * parts[1]
)


def stored(content):
    view = memoryview(content)
    extents = chunking.extents(view)
    return extents, b"".join(view[start : start + length] for start, length in extents)


@settings(max_examples=150, deadline=None)
@given(CONTENT)
def test_what_is_left_out_is_zero_and_nothing_else_is(content):
    extents, dense = stored(content)
    rebuilt = bytearray(len(content))
    for offset, data in chunking.scatter(extents, memoryview(dense)):
        assert offset % PAGE == 0
        rebuilt[offset : offset + len(data)] = data
    assert rebuilt == content
    pages = [content[start : start + PAGE] for start in range(0, len(content), PAGE)]
    assert len(dense) == sum(len(page) for page in pages if any(page))
    assert all(one[0] + one[1] < two[0] for one, two in pairwise(extents)), "stretches are not joined"


@settings(max_examples=150, deadline=None)
@given(CONTENT.filter(len))
def test_bitmaps_and_digests_are_those_of_the_whole_chunk(content):
    extents, dense = stored(content)
    assert chunking.from_bitmap(chunking.to_bitmap(extents), len(content)) == extents
    assert chunking.digest(len(content), chunking.scatter(extents, memoryview(dense))) == blake3(content).digest()
    record = Record(b"", 0, len(dense), len(content), codec.RAW, chunking.to_bitmap(extents))
    assert record.dense == len(dense)


def test_full_chunks_at_both_ends():
    assert chunking.extents(memoryview(bytes(CHUNK))) == []
    assert chunking.extents(memoryview(b"x" * CHUNK)) == [(0, CHUNK)]
    assert chunking.from_bitmap(chunking.to_bitmap([(0, CHUNK)]), CHUNK) == [(0, CHUNK)]
    alternating = memoryview((b"x" * PAGE + b"\0" * PAGE) * (CHUNK // PAGE // 2))
    assert len(chunking.extents(alternating)) == 256


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_lengths_add_up(size):
    lengths = list(chunking.lengths(size))
    assert (sum(lengths), len(lengths)) == (size, chunking.count(size))
    assert all(length == CHUNK for length in lengths[:-1])


def test_a_heap_is_compressed_and_weights_are_not():
    heap = memoryview(b"key: value, " * 20000)
    kind, pieces = codec.as_stored([heap[:PAGE], heap[PAGE:]], squeeze=True)
    assert (kind, len(pieces)) == (codec.ZSTD, 1)
    assert len(pieces[0]) * 10 < len(heap)
    assert codec.decode(kind, memoryview(pieces[0]), len(heap)) == heap
    weights = memoryview(os.urandom(1 << 20))
    assert codec.as_stored([weights], squeeze=True) == (codec.RAW, [weights])
    assert codec.as_stored([heap], squeeze=False) == (codec.RAW, [heap])


def test_a_frame_of_another_size_is_refused_before_it_takes_memory():
    frame = codec.compress([memoryview(b"x" * 100000)])
    for content, length in ((frame, 99999), (frame[:-1], 100000), (b"", 1), (b"x" * 50, 100), (frame + b"x", 100000)):
        with pytest.raises(ArtifactError):
            codec.decode(codec.ZSTD, memoryview(content), length)


def test_without_the_package_nothing_is_compressed_and_what_is_says_so(monkeypatch):
    frame = codec.compress([memoryview(b"x" * 100000)])
    monkeypatch.setattr(codec, "AVAILABLE", False)
    assert codec.compress([memoryview(b"x" * 100000)]) is None
    with pytest.raises(ArtifactError, match="lacks the package zstandard"):
        codec.decode(codec.ZSTD, memoryview(frame), 100000)


PACK = "ab" * 16
GOOD = Record(b"\1" * 32, 0, PAGE + 10, PAGE + 10, codec.RAW, chunking.to_bitmap([(0, PAGE + 10)]))
NEXT = Record(b"\2" * 32, 2 * PAGE, PAGE, 2 * PAGE, codec.RAW, chunking.to_bitmap([(PAGE, PAGE)]))


def dumped(*records, size=3 * PAGE, pack=PACK):
    return index.dump_index(Index(pack, size, dict(enumerate(records))))


def test_an_index_is_read_as_it_was_written():
    assert index.parse_index(PACK, dumped(GOOD, NEXT)) == Index(PACK, 3 * PAGE, {GOOD.digest: GOOD, NEXT.digest: NEXT})


@pytest.mark.parametrize(
    "records",
    [
        [GOOD, NEXT._replace(digest=GOOD.digest)],
        [GOOD, NEXT._replace(offset=PAGE)],
        [GOOD, NEXT._replace(offset=3 * PAGE)],
        [GOOD, NEXT._replace(offset=2 * PAGE + 1)],
        [GOOD._replace(length=0)],
        [GOOD._replace(length=CHUNK + 1)],
        [GOOD._replace(stored=PAGE)],
        [GOOD._replace(codec=7)],
        [GOOD._replace(codec=codec.ZSTD)],
        [NEXT._replace(codec=codec.ZSTD, stored=0)],
        [GOOD._replace(bitmap=bytes(64))],
        [GOOD._replace(bitmap=b"\7" + bytes(63))],
        [NEXT._replace(offset=1 << 63)],
    ],
)
def test_an_index_that_cannot_be_true_is_refused(records):
    with pytest.raises(ArtifactError, match="does not fit its pack"):
        index.parse_index(PACK, dumped(*records))


def test_every_byte_of_an_index_counts():
    content = dumped(GOOD, NEXT)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        with pytest.raises(ArtifactError):
            index.parse_index(PACK, bytes(changed))
    for changed in (b"", content[:-1], content + b"\0", content[:40]):
        with pytest.raises(ArtifactError):
            index.parse_index(PACK, changed)
    with pytest.raises(ArtifactError, match="another pack's"):
        index.parse_index("cd" * 16, content)
