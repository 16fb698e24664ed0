"""Columns share a width, texts are cut to theirs, and nothing hostile gets through."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kubectl_chrek.tui.plain import clean, clean_lines
from kubectl_chrek.tui.views.rows import COLUMNS
from kubectl_chrek.tui.widgets.cells import GAP, Cell, Column, fit

GUTTER_ARROW_AND_SCROLLBAR = 4

any_text = st.text(st.characters(exclude_categories=[]) | st.sampled_from("[]/\\\x1b\x07\u202e\ud800\n\t世"))
columns = st.lists(
    st.builds(Column, id=st.just("x"), title=st.just("X"), least=st.integers(1, 20), rank=st.integers(0, 20)),
    min_size=1,
    max_size=14,
)


def names_shown(width, hidden=()):
    chosen = [column for column in COLUMNS if column.id not in hidden]
    return [chosen[index].id for index in fit(chosen, [0] * len(chosen), width - GUTTER_ARROW_AND_SCROLLBAR)]


def test_the_narrow_list_has_what_matters():
    assert names_shown(80) == ["namespace", "name", "model", "phase", "cold", "restore", "age"]
    assert "size" in names_shown(80, hidden=("namespace",))


def test_the_wide_list_has_all():
    assert names_shown(190) == [column.id for column in COLUMNS]


def test_room_that_is_left_goes_to_names_before_progress():
    assert fit(COLUMNS, [40] * len(COLUMNS), 137)[1] > 14


@given(columns=columns, width=st.integers(0, 300), data=st.data())
def test_columns_never_take_more_than_there_is_and_never_less_than_their_least(columns, width, data):
    wanted = data.draw(st.lists(st.integers(0, 200), min_size=len(columns), max_size=len(columns)))
    shared = fit(columns, wanted, width)
    assert list(shared) == sorted(shared)
    assert sum(shared.values()) + GAP * (len(shared) - 1) <= width
    if len(shared) > 1:
        assert all(shared[index] >= columns[index].least for index in shared)
    dropped = {columns[index].rank for index in range(len(columns)) if index not in shared}
    assert not dropped or max(columns[index].rank for index in shared) <= min(dropped)


@given(text=any_text, width=st.integers(0, 40), right=st.booleans(), keep_end=st.booleans())
def test_a_fitted_cell_has_exactly_its_width(text, width, right, keep_end):
    assert cell_len(Cell(clean(text)).fitted(width, right=right, keep_end=keep_end)) == width


def test_a_shorter_way_to_say_it_is_tried_before_anything_is_cut():
    cell = Cell("Creating 45% ━━━ 1.8 GB/s", shorter=("Creating 45% ━━━", "Creating 45%"))
    assert cell.fitted(14) == "Creating 45%  "
    assert cell.fitted(8) == "Creatin…"


def test_a_model_is_cut_at_its_beginning():
    assert Cell("meta-llama/Llama-3.1-8B").fitted(12, keep_end=True) == "…lama-3.1-8B"


@given(text=any_text)
def test_cleaned_text_is_one_line_that_any_terminal_takes(text):
    cleaned = clean(text)
    cleaned.encode()
    assert not any(character in cleaned for character in "\x1b\x07\n\t\r\u202e\u2028\x9b")


@given(text=any_text)
def test_cleaned_lines_keep_their_breaks_and_nothing_else_that_moves_a_cursor(text):
    cleaned = clean_lines(text)
    cleaned.encode()
    assert not any(character in cleaned for character in "\x1b\x07\t\r\u202e\x9b")
    assert cleaned.count("\n") == text.count("\n") or "\x1b" in text


def test_escape_sequences_of_a_log_vanish_whole():
    assert clean_lines("\x1b[1;32mINFO\x1b[0m \x1b]0;title\x07up\r\n") == "INFO up\n"


def test_square_brackets_are_text():
    assert clean("[red]x[/] [nvidia.com/gpu]") == "[red]x[/] [nvidia.com/gpu]"
