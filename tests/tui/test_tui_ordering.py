"""The list's order is kept change by change, and is what sorting all of it anew would make."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tui_samples import ago, make_checkpoint

from kubectl_chrek.tui.views.matching import compile_filter
from kubectl_chrek.tui.views.ordering import SORTS, Listing, Order, sort_rows
from kubectl_chrek.tui.views.reading import read_row


def make_row(uid, name, namespace, phase, size, age):
    status = {"artifact": {"generation": "g", "bytes": size}} if size else {}
    return read_row(make_checkpoint(name, uid=uid, namespace=namespace, phase=phase, status=status, created=ago(seconds=age)))


NAMES = st.sampled_from(["a", "b", "b-17", "ab", "ü"])
ROWS = st.builds(
    make_row,
    uid=st.sampled_from([f"uid-{number}" for number in range(6)]),
    name=NAMES,
    namespace=st.sampled_from(["default", "research"]),
    phase=st.sampled_from(["Ready", "Creating", "Strange"]),
    size=st.sampled_from([0, 1 << 20, 5 << 30]),
    age=st.integers(0, 3),
)
CHANGES = st.lists(st.one_of(ROWS, st.sampled_from([f"uid-{number}" for number in range(6)])), max_size=12)


@settings(max_examples=100, deadline=None)
@given(
    first=st.lists(ROWS, max_size=8),
    changes=CHANGES,
    column=st.sampled_from(sorted(SORTS)),
    descending=st.booleans(),
    text=st.sampled_from(["", "b", "!b", "ready", "~rdy b"]),
)
def test_a_listing_after_changes_is_the_listing_of_what_is_there(first, changes, column, descending, text):
    order, matches = Order(column, descending), compile_filter(text)
    there = {row.key: row for row in first}
    listing = Listing(there.values(), order)
    listing.narrow(matches)
    for change in changes:
        key, row = (change, None) if isinstance(change, str) else (change.key, change)
        listing.change(key, row)
        there |= {key: row} if row else {}
        if row is None:
            there.pop(key, None)
    fresh = Listing(there.values(), order)
    shown = [row for row in sort_rows(there.values(), column, descending=descending) if not matches or matches(row.haystack, {})]
    assert listing.shown == shown
    assert listing.widths() == fresh.widths()
    assert +listing.phases == fresh.phases
    assert [listing.place(row.key) for row in shown] == [*range(len(shown))]
    assert {listing.place(key) for key in there.keys() - {row.key for row in shown}} <= {None}


@pytest.mark.parametrize("descending", [False, True])
def test_equal_rows_are_by_namespace_in_both_directions(descending):
    rows = [make_row("1", "a", "research", "Ready", 0, 0), make_row("2", "a", "default", "Ready", 0, 0)]
    assert [row.namespace for row in Listing(rows, Order("name", descending)).shown] == ["default", "research"]


def test_a_column_becomes_narrower_when_its_longest_text_goes():
    long, short = make_row("1", "a-very-long-name", "default", "Ready", 0, 0), make_row("2", "a", "default", "Ready", 0, 0)
    listing = Listing([long, short], Order("name", False))
    listing.change("1", None)
    assert listing.widths() == Listing([short], Order("name", False)).widths()
    listing.change("2", None)
    assert set(listing.widths()[:-1]) == {0}
    assert listing.place("2") is None
