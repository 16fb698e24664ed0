"""Rows: their cells, their order, what a filter finds."""

import pytest

from kubectl_chrek.tui.views.matching import compile_filter
from kubectl_chrek.tui.views.ordering import sort_rows
from kubectl_chrek.tui.views.phases import bar
from kubectl_chrek.tui.views.reading import read_row
from kubectl_chrek.tui.views.rows import COLUMNS, cells_at


@pytest.fixture
def rows(samples):
    return [read_row(body) for body in samples]


@pytest.fixture
def texts(frozen_now):
    return lambda row: {column.id: cell.text for column, cell in zip(COLUMNS, cells_at(row, frozen_now), strict=True)}


def names(rows):
    return [row.name for row in rows]


def test_a_ready_checkpoint(rows, texts):
    assert texts(rows[0]) == {
        "namespace": "default",
        "name": "llama-3-8b",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "backend": "vllm",
        "parallelism": "1/1",
        "dtype": "bfloat16",
        "phase": "● Ready",
        "size": "18Gi",
        "cold": "84s",
        "restore": "6.1s",
        "result": "✓ restored",
        "restores": "12",
        "colds": "3",
        "unique": "-",
        "nodes": "gpu-a-01",
        "notes": "-",
        "age": "5h",
    }


def test_a_capture_under_way_shows_how_far_it_is(rows, texts):
    assert texts(rows[1])["phase"] == "◐ Creating 45% ━━━╸┄┄┄┄ 1.8 GB/s"


def test_a_capture_without_a_known_size_shows_its_step(checkpoint_body, texts):
    row = read_row(checkpoint_body("x", phase="Creating", status={"progress": {"step": "quiesce"}}))
    assert texts(row)["phase"] == "◐ Creating quiesce"


def test_a_cold_start_is_no_restore(rows, texts):
    assert (texts(rows[4])["restore"], texts(rows[4])["result"]) == ("-", "❄ cold")


def test_an_object_under_deletion_says_so_whatever_its_status(checkpoint_body, texts):
    row = read_row(checkpoint_body("x", metadata={"deletionTimestamp": "2026-03-04T11:00:00Z"}))
    assert texts(row)["phase"] == "⌫ Deleting"


def test_an_unreadable_status_is_a_row_that_says_why(checkpoint_body, texts):
    row = read_row(checkpoint_body("x", status={"phase": "Ready", "artifact": {"bytes": "many"}}))
    assert texts(row)["name"] == "x"
    assert row.checkpoint.status.message.startswith("This object cannot be read: status.artifact")


def test_an_unreadable_identity_is_a_row_all_the_same(checkpoint_body, texts):
    row = read_row(checkpoint_body("x", identity={"model": "", "backendFramework": "vllm"}))
    assert row.identity is None
    assert texts(row)["model"] == "<unknown>"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("name", ["deepseek-r1", "gemma-2-9b", "llama-3-8b", "mixtral-8x22b", "qwen-72b"]),
        ("age", ["deepseek-r1", "mixtral-8x22b", "llama-3-8b", "qwen-72b", "gemma-2-9b"]),
        ("size", ["llama-3-8b", "gemma-2-9b", "deepseek-r1", "mixtral-8x22b", "qwen-72b"]),
        ("phase", ["deepseek-r1", "mixtral-8x22b", "gemma-2-9b", "llama-3-8b", "qwen-72b"]),
    ],
)
def test_sorting_goes_by_values_and_is_stable_by_name(rows, column, expected):
    assert names(sort_rows(rows, column, descending=False)) == expected
    assert names(sort_rows(list(reversed(rows)), column, descending=False)) == expected


def test_rows_without_a_value_are_last_in_both_directions(rows):
    assert names(sort_rows(rows, "size", descending=True)) == [
        "gemma-2-9b",
        "llama-3-8b",
        "deepseek-r1",
        "mixtral-8x22b",
        "qwen-72b",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 5),
        ("LLAMA", 1),
        ("vllm ready", 2),
        ("!vllm", 2),
        ("~lxm", 0),
        ("~mxtl", 1),
        ("8/2", 1),
        ("research", 1),
        ("! ~ vllm", 3),
        ("[red]", 0),
    ],
)
def test_the_filter_finds_words_in_all_cells(rows, text, expected):
    match = compile_filter(text)
    assert sum(1 for row in rows if match is None or match(row.haystack, row.labels)) == expected


@pytest.mark.parametrize(("part", "drawn"), [(0, "┄┄┄┄"), (0.125, "╸┄┄┄"), (0.5, "━━┄┄"), (1, "━━━━")])
def test_a_bar(part, drawn):
    assert bar(part, 4) == drawn
