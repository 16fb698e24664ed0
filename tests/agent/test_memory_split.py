"""What of a process's memory goes where: nothing is lost, nothing is there twice, whatever the pagemap."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrek_agent.criu.mappings import Mapping
from chrek_agent.criu.pagemap import LAZY, PAGE, PRESENT, Entry, Pagemap
from chrek_agent.criu.wire import ImageError
from chrek_agent.memory.split import BULK, Stretch, rest_entries, split, split_shared

MANY = BULK // PAGE
FLAGS = st.sampled_from([PRESENT, LAZY, LAZY | PRESENT])


def mapping(start, pages, flags=0x22, advice=0):
    return Mapping(start * PAGE, (start + pages) * PAGE, 0, 0, 3, flags, 0x201, advice)


def entry(start, pages, flags):
    return Entry(start * PAGE, pages * PAGE, flags)


@st.composite
def memories(draw):
    """A pagemap, and mappings that hold all of it."""
    position = 16
    entries, mappings = [], []
    for _ in range(draw(st.integers(1, 5))):
        start = position
        for _ in range(draw(st.integers(0, 6))):
            position += draw(st.sampled_from([0, 0, 1, 50]))
            pages = draw(st.sampled_from([1, 3, MANY - 1, MANY, MANY + 1, 2000]))
            entries.append(entry(position, pages, draw(FLAGS)))
            position += pages
        position += 1
        mappings.append(mapping(start, position - start))
        position += draw(st.sampled_from([0, 0, 7]))
    return Pagemap(1, tuple(entries)), mappings


@given(memories())
@settings(max_examples=150, deadline=None)
def test_every_page_is_in_one_place_with_its_content(memory):
    pagemap, mappings = memory
    found = split(pagemap, mappings)
    where = {}
    for stretch in (*found.bulk, *found.rest):
        for page in range(stretch.start, stretch.end, PAGE):
            assert page not in where
            where[page] = None if stretch.at is None else stretch.at + page - stretch.start
    expected, at = {}, 0
    for piece in pagemap.entries:
        for page in range(piece.start, piece.end, PAGE):
            expected[page] = at if piece.flags & PRESENT else None
            at += PAGE if piece.flags & PRESENT else 0
    assert where == expected


@given(memories())
@settings(max_examples=100, deadline=None)
def test_runs_are_long_lie_in_one_mapping_and_are_in_order(memory):
    pagemap, mappings = memory
    found = split(pagemap, mappings)
    for stretch in found.bulk:
        assert stretch.length >= BULK
        assert any(area.start <= stretch.start and stretch.end <= area.end for area in mappings)
    for stretches in (found.bulk, found.rest):
        assert list(stretches) == sorted(stretches, key=lambda stretch: stretch.start)
    assert [(piece.start, piece.length, piece.flags) for piece in rest_entries(found)] == [
        (stretch.start, stretch.length, PRESENT) for stretch in found.rest
    ]


def test_what_criu_cut_by_its_pipes_is_one_run():
    pagemap = Pagemap(1, tuple(entry(100 + 256 * index, 256, LAZY) for index in range(8)))
    assert split(pagemap, [mapping(100, 2048)]).bulk == (Stretch(100 * PAGE, 2048 * PAGE, None),)


def test_neighbours_in_two_mappings_are_two_runs():
    found = split(Pagemap(1, (entry(100, 4 * MANY, LAZY | PRESENT),)), [mapping(100, MANY), mapping(100 + MANY, 3 * MANY)])
    assert found.bulk == (Stretch(100 * PAGE, BULK, 0), Stretch((100 + MANY) * PAGE, 3 * BULK, BULK))


def test_what_may_not_be_lazy_stays():
    assert split(Pagemap(1, (entry(100, 5000, PRESENT),)), [mapping(100, 5000)]).bulk == ()


def test_pages_that_are_nowhere_are_refused():
    with pytest.raises(ImageError, match="nowhere"):
        split(Pagemap(1, (entry(1, 1, 0),)), [])


@pytest.mark.parametrize(
    ("area", "pages", "huge"),
    [
        (mapping(512, 1024), 1024, {512 * PAGE}),
        (mapping(512, 1024), 896, {512 * PAGE}),
        (mapping(512, 1024), 895, set()),
        (mapping(512, 1023), 1023, set()),
        (mapping(512, 1024, flags=0x122), 1024, set()),
        (mapping(512, 1024, advice=1 << 15), 1024, set()),
    ],
)
def test_mappings_as_good_as_full_are_put_on_huge_pages(area, pages, huge):
    assert split(Pagemap(1, (entry(512, pages, LAZY),)), [area]).huge == huge


def test_shared_memory_within_reach_is_bulk():
    pagemap = Pagemap(1, (entry(0, MANY, PRESENT), entry(2000, 1, PRESENT)))
    found = split_shared(pagemap, within_reach=True)
    assert (found.bulk, found.rest) == ((Stretch(0, BULK, 0),), (Stretch(2000 * PAGE, PAGE, BULK),))
    assert split_shared(pagemap, within_reach=False).bulk == ()
