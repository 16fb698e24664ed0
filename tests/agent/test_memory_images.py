"""CRIU's images, read and rewritten: what is not understood is kept, what is malformed is refused, never followed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrek_agent.criu.images import FILES_MAGIC, MEMFD_MAGIC, MM_MAGIC, PAGEMAP_MAGIC, read_image, write_image
from chrek_agent.criu.mappings import advise_huge, read_mappings
from chrek_agent.criu.pagemap import LAZY, PAGE, PRESENT, Entry, Pagemap, read_pagemap, write_pagemap
from chrek_agent.criu.shared import shared_places
from chrek_agent.criu.wire import BYTES, FIXED32, FIXED64, VARINT, Field, ImageError, decode, encode, numbers

HUGEPAGE = 1 << 14
VALUES = {
    VARINT: st.integers(0, (1 << 64) - 1),
    FIXED64: st.binary(min_size=8, max_size=8),
    BYTES: st.binary(max_size=20),
    FIXED32: st.binary(min_size=4, max_size=4),
}
FIELDS = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.builds(Field, st.integers(1, 1 << 20), st.just(kind), VALUES[kind]))
)


def message(**values):
    return encode(Field(int(name[1:]), VARINT, value) for name, value in values.items())


@given(FIELDS)
@settings(max_examples=80, deadline=None)
def test_a_message_is_the_same_after_decoding_and_encoding(fields):
    assert decode(encode(fields)) == fields


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_decoded_or_refused(content):
    try:
        fields = decode(content)
    except ImageError:
        return
    assert decode(encode(fields)) == fields


@pytest.mark.parametrize(
    "content", [b"\x08", b"\x08" + b"\xff" * 10, b"\x0a\x05abc", b"\x0d\x00", b"\x0b", b"\x00\x00", b"\x08" + b"\xff" * 9 + b"\x02"]
)
def test_malformed_messages_are_refused(content):
    with pytest.raises(ImageError):
        decode(content)


def test_a_field_of_another_kind_is_refused():
    with pytest.raises(ImageError, match="not a number"):
        _ = Field(1, BYTES, b"a").integer
    with pytest.raises(ImageError, match="not a message"):
        _ = Field(1, VARINT, 1).message


def test_images_hold_their_messages(tmp_path):
    path = tmp_path / "pagemap-1.img"
    write_image(path, PAGEMAP_MAGIC, [b"abc", b"", b"d"])
    assert read_image(path, PAGEMAP_MAGIC) == [b"abc", b"", b"d"]
    with pytest.raises(ImageError, match="does not begin"):
        read_image(path, MM_MAGIC)


@pytest.mark.parametrize("cut", [1, 4, 7, 9, 11, 13])
def test_an_image_that_is_cut_off_is_refused(tmp_path, cut):
    path = tmp_path / "pagemap-1.img"
    write_image(path, PAGEMAP_MAGIC, [b"abc", b"defg"])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ImageError):
        read_image(path, PAGEMAP_MAGIC)


def pagemap_of(tmp_path, *entries, head=None):
    path = tmp_path / "pagemap-7.img"
    write_image(path, PAGEMAP_MAGIC, [message(f1=3) if head is None else head, *entries])
    return path


def test_a_pagemap_is_the_same_after_writing_and_reading(tmp_path):
    entries = (Entry(PAGE, 3 * PAGE, PRESENT), Entry(8 * PAGE, PAGE, LAZY), Entry(1 << 40, PAGE << 33, LAZY | PRESENT))
    write_pagemap(tmp_path / "p.img", Pagemap(9, entries))
    assert read_pagemap(tmp_path / "p.img") == Pagemap(9, entries)


def test_the_old_count_of_pages_counts_where_there_is_no_new_one(tmp_path):
    assert read_pagemap(pagemap_of(tmp_path, message(f1=PAGE, f2=2, f4=4))).entries == (Entry(PAGE, 2 * PAGE, PRESENT),)


@pytest.mark.parametrize(
    "entries",
    [
        [message(f1=PAGE + 1, f2=1, f4=4)],
        [message(f2=1, f4=4)],
        [message(f1=PAGE, f2=0, f4=4)],
        [message(f1=PAGE, f4=4, f5=1 << 60)],
        [message(f1=1 << 57, f4=4, f5=1)],
        [message(f1=PAGE, f2=1, f4=1)],
        [message(f1=PAGE, f2=1, f3=1)],
        [message(f1=PAGE, f2=2, f4=4), message(f1=2 * PAGE, f2=1, f4=4)],
        [message(f1=9 * PAGE, f2=1, f4=4), message(f1=PAGE, f2=1, f4=4)],
        [b"\x08"],
    ],
)
def test_a_pagemap_that_no_process_can_have_is_refused(tmp_path, entries):
    with pytest.raises(ImageError):
        read_pagemap(pagemap_of(tmp_path, *entries))


def test_a_pagemap_without_a_pages_image_is_refused(tmp_path):
    with pytest.raises(ImageError, match="names no pages image"):
        read_pagemap(pagemap_of(tmp_path, head=message(f2=1)))


def vma(start, end, flags=0x22, status=0x201, shared=0, **more):
    return message(f1=start, f2=end, f3=0, f4=shared, f5=3, f6=flags, f7=status, **more) + encode([Field(99, BYTES, b"kept")])


def mm_of(path, *vmas):
    fields = [Field(1, VARINT, 5), *(Field(14, BYTES, found) for found in vmas), Field(77, BYTES, b"also kept")]
    write_image(path, MM_MAGIC, [encode(fields)])
    return path


def test_only_the_mappings_meant_are_advised_and_nothing_else_changes(tmp_path):
    first, second, third = vma(PAGE, 3 * PAGE), vma(4 * PAGE, 5 * PAGE, f9=2), vma(9 * PAGE, 10 * PAGE)
    path = mm_of(tmp_path / "mm-1.img", first, second, third)
    advise_huge(path, {PAGE, 4 * PAGE})
    assert [mapping.advice for mapping in read_mappings(path)] == [HUGEPAGE, HUGEPAGE | 2, 0]
    (content,) = read_image(path, MM_MAGIC)
    fields = decode(content)
    assert [(field.number, field.value) for field in fields if field.number != 14] == [(1, 5), (77, b"also kept")]
    vmas = [decode(field.message) for field in fields if field.number == 14]
    assert all(found[-1] == Field(99, BYTES, b"kept") for found in vmas)
    assert encode(vmas[2]) == third


def test_no_advice_leaves_the_image_alone(tmp_path):
    advise_huge(tmp_path / "there-is-none.img", set())


@pytest.mark.parametrize("content", [[], [b"", b""], [encode([Field(14, BYTES, message(f1=5))])], [encode([Field(14, VARINT, 5)])]])
def test_a_malformed_mm_image_is_refused(tmp_path, content):
    write_image(tmp_path / "mm-1.img", MM_MAGIC, content)
    with pytest.raises(ImageError):
        read_mappings(tmp_path / "mm-1.img")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, True), ({"flags": 0x21}, False), ({"flags": 0x02}, False), ({"flags": 0x122}, False), ({"flags": 0x40022}, False)],
)
def test_what_may_be_huge(tmp_path, changes, expected):
    (mapping,) = read_mappings(mm_of(tmp_path / "mm-1.img", vma(0, PAGE, **changes)))
    assert mapping.may_be_huge is expected


@pytest.mark.parametrize("advice", [HUGEPAGE, HUGEPAGE << 1])
def test_advice_that_was_given_stays(tmp_path, advice):
    (mapping,) = read_mappings(mm_of(tmp_path / "mm-1.img", vma(0, PAGE, f9=advice)))
    assert not mapping.may_be_huge


def memfd(number, inode):
    return encode([Field(1, VARINT, 18), Field(2, VARINT, number), Field(20, BYTES, message(f1=number, f5=inode))])


def test_shared_objects_that_can_be_written_are_found_by_their_mappings(tmp_path):
    inodes = [message(f5=500, f6=0, f7=1), message(f5=600, f6=0x08, f7=2), message(f5=700, f6=0, f7=3, f8=4)]
    write_image(tmp_path / "memfd.img", MEMFD_MAGIC, inodes)
    write_image(tmp_path / "files.img", FILES_MAGIC, [memfd(41, 1), memfd(42, 2), memfd(43, 3), message(f1=1, f2=44)])
    shared, private = 0x4081, 0x4041
    mm_of(
        tmp_path / "mm-5.img",
        vma(1 * PAGE, 2 * PAGE, 1, shared, 41),
        vma(2 * PAGE, 3 * PAGE, 1, shared, 42),
        vma(3 * PAGE, 4 * PAGE, 1, shared, 43),
        vma(4 * PAGE, 5 * PAGE, 1, 0x81, 44),
        vma(5 * PAGE, 6 * PAGE, 2, private, 41),
        vma(6 * PAGE, 7 * PAGE, 0x21, 0x101, 800),
    )
    mm_of(tmp_path / "mm-4.img", vma(8 * PAGE, 9 * PAGE, 1, shared, 41))
    mappings = {pid: read_mappings(tmp_path / f"mm-{pid}.img") for pid in (5, 4)}
    assert shared_places(tmp_path, mappings) == {500: [(4, 8 * PAGE), (5, PAGE)], 800: [(5, 6 * PAGE)]}
    assert numbers([]) == {}
