"""The list of checkpoints under a user's hands."""

from datetime import timedelta

import pytest
from textual.events import Key
from textual.widgets import Button, HelpPanel, Input, OptionList

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ConflictError
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.modals import Choose, ConfirmDelete
from kubectl_chrek.tui.widgets.table import VirtualTable


async def test_rows_come_sorted_by_name_and_the_table_has_the_keys(start, source):
    async with start(source) as driver:
        assert driver.names == ["deepseek-r1", "gemma-2-9b", "llama-3-8b", "mixtral-8x22b", "qwen-72b"]
        assert driver.app.focused is driver.table
        assert driver.text("#banner-facts-right") == "● live"


MOVES = {
    "j": "gemma-2-9b",
    "down": "gemma-2-9b",
    "j j k": "gemma-2-9b",
    "down up": "deepseek-r1",
    "up": "deepseek-r1",
    "G": "qwen-72b",
    "end": "qwen-72b",
    "G g": "deepseek-r1",
    "G home": "deepseek-r1",
    "pagedown": "qwen-72b",
    "ctrl+f": "qwen-72b",
    "G pageup": "deepseek-r1",
    "G ctrl+b": "deepseek-r1",
    "G j": "qwen-72b",
}


async def test_the_cursor_moves(start, source):
    async with start(source) as driver:
        found = {}
        for keys in MOVES:
            driver.table.cursor = 0
            await driver.press(*keys.split())
            found[keys] = driver.current
        assert found == MOVES


async def test_a_page_is_what_the_screen_shows_and_the_cursor_stays_in_view(start, fake_source, checkpoint_body):
    many = fake_source([checkpoint_body(f"cp-{number:05d}") for number in range(10_000)])
    async with start(many, size=(100, 20)) as driver:
        await driver.press("pagedown", "pagedown")
        assert driver.current == f"cp-{2 * (driver.table.size.height - 1):05d}"
        assert driver.table.scroll_y <= driver.table.cursor < driver.table.scroll_y + driver.table.size.height - 1
        await driver.press("G")
        assert driver.current == "cp-09999"
        assert "cp-09999" in driver.table.render_line(driver.table.size.height - 1).text


async def test_a_change_is_shown_and_the_cursor_stays_on_its_row(start, source, checkpoint_body):
    async with start(source) as driver:
        await driver.press("j", "j")
        source.send("ADDED", checkpoint_body("aaa-first"))
        source.send("MODIFIED", checkpoint_body("llama-3-8b", phase="Failed", status={"message": "was lost [/]"}))
        await driver.settle()
        assert driver.names[0] == "aaa-first"
        assert driver.current == "llama-3-8b"
        assert "2 Failed" in driver.text("#banner-facts")
        assert driver.text("#message") == "was lost [/]"


async def test_a_deleted_row_goes_and_the_cursor_stays_where_it_was(start, source):
    async with start(source) as driver:
        await driver.press("j")
        source.send("DELETED", source.checkpoints[4])
        await driver.settle()
        assert driver.names == ["deepseek-r1", "llama-3-8b", "mixtral-8x22b", "qwen-72b"]
        assert driver.current == "llama-3-8b"


async def test_the_filter_narrows_counts_and_clears(start, source):
    async with start(source) as driver:
        await driver.press("slash", *"vllm")
        assert driver.names == ["gemma-2-9b", "llama-3-8b", "mixtral-8x22b"]
        assert "filter 3/5" in driver.text("#banner-facts")
        await driver.press("enter")
        assert driver.app.focused is driver.table
        assert len(driver.names) == 3
        await driver.press("escape")
        assert len(driver.names) == 5
        assert not driver.app.screen.query_one(Input).has_class("-active")


async def test_escape_inside_the_filter_clears_it(start, source):
    async with start(source) as driver:
        await driver.press("slash", *"zzz")
        assert driver.names == []
        assert "Nothing matches" in driver.table.placeholder
        await driver.press("escape")
        assert len(driver.names) == 5
        assert driver.app.focused is driver.table


async def test_enter_on_an_empty_filter_closes_it(start, source):
    async with start(source) as driver:
        await driver.press("slash", "enter")
        assert not driver.app.screen.query_one(Input).has_class("-active")


async def test_letters_in_the_filter_are_letters(start, source):
    async with start(source) as driver:
        await driver.press("slash", "q", "d", "n", "0")
        assert driver.app.screen.query_one(Input).value == "qdn0"
        assert isinstance(driver.app.screen, CheckpointsScreen)


@pytest.mark.parametrize(
    ("key", "first", "then"),
    [
        ("A", "deepseek-r1", "gemma-2-9b"),
        ("S", "gemma-2-9b", "llama-3-8b"),
        ("P", "deepseek-r1", "qwen-72b"),
        ("N", "qwen-72b", "deepseek-r1"),
    ],
)
async def test_a_sort_key_sorts_and_pressed_again_turns_round(start, source, key, first, then):
    async with start(source, size=(160, 40)) as driver:
        await driver.press(key)
        assert driver.names[0] == first
        title = {"A": "AGE", "S": "SIZE", "P": "PHASE", "N": "NAME"}[key]
        arrows = {f"{title}↑", f"{title}↓"}
        assert any(arrow in driver.table.render_line(0).text for arrow in arrows)
        await driver.press(key)
        assert driver.names[0] == then


async def test_a_click_on_a_title_sorts_and_on_a_row_opens(start, source):
    async with start(source, size=(160, 40)) as driver:
        header = driver.table.render_line(0).text
        await driver.pilot.click(VirtualTable, offset=(header.index("PHASE"), 0))
        await driver.settle()
        assert driver.table.arrows == {"phase": "↑"}
        await driver.pilot.click(VirtualTable, offset=(5, 3))
        await driver.settle()
        assert driver.table.cursor == 2
        await driver.pilot.click(VirtualTable, offset=(5, 3))
        await driver.settle()
        assert isinstance(driver.app.screen, DetailScreen)


async def test_a_click_below_the_rows_or_on_a_title_that_sorts_nothing_does_nothing(start, source):
    async with start(source, size=(160, 40)) as driver:
        await driver.pilot.click(VirtualTable, offset=(5, 20))
        await driver.pilot.click(VirtualTable, offset=(driver.table.render_line(0).text.index("MODEL"), 0))
        await driver.settle()
        assert driver.current == "deepseek-r1"
        assert driver.table.arrows == {"name": "↑"}


async def test_space_marks_and_escape_takes_the_marks_away(start, source):
    async with start(source) as driver:
        await driver.press("space", "space")
        assert driver.current == "llama-3-8b"
        assert "2 marked" in driver.text("#banner-facts")
        assert driver.table.render_line(1).text.startswith("■ default")
        await driver.press("g", "space")
        assert "1 marked" in driver.text("#banner-facts")
        await driver.press("escape")
        assert "marked" not in driver.text("#banner-facts")


async def test_on_an_empty_list_no_key_does_harm(start, fake_source):
    async with start(fake_source()) as driver:
        await driver.press(*["d", "c", "space", "ctrl+d", "j", "G", "p", "u", "V", "ctrl+@", "ctrl+backslash", "y", "enter"])
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert "No checkpoints in all namespaces" in driver.table.placeholder


async def test_the_name_is_copied_and_said(start, source):
    async with start(source) as driver:
        await driver.press("c")
        assert driver.app.clipboard == "deepseek-r1"
        assert driver.notes == ["Copied deepseek-r1"]


async def test_a_namespace_is_chosen_and_left_again(start, source):
    async with start(source) as driver:
        await driver.press("n")
        assert isinstance(driver.app.screen, Choose)
        await driver.press("j", "j", "k", "j", "enter")
        assert source.watched == ["", "research"]
        assert driver.names == ["qwen-72b"]
        assert "NAMESPACE" not in driver.table.render_line(0).text
        await driver.press("0")
        assert source.watched == ["", "research", ""]
        assert len(driver.names) == 5


async def test_rows_of_the_former_namespace_are_gone_at_once(start, source):
    async with start(source) as driver:
        source.silent = True
        await driver.press("n", "j", "enter")
        assert driver.names == []
        assert driver.table.placeholder == "Loading ..."


async def test_escape_keeps_the_namespace(start, source):
    async with start(source) as driver:
        await driver.press("n", "j", "escape")
        assert source.watched == [""]


async def test_who_may_not_list_namespaces_chooses_among_those_seen(start, source, outage):
    source.namespaces_error = outage
    async with start(source) as driver:
        await driver.press("n")
        assert driver.app.screen.query_one(OptionList).option_count == 3
        assert driver.notes == [str(outage)]


async def test_delete_asks_and_enter_alone_keeps(start, source):
    async with start(source) as driver:
        await driver.press("ctrl+d")
        assert isinstance(driver.app.screen, ConfirmDelete)
        assert driver.app.focused is driver.app.screen.query_one("#delete-cancel", Button)
        await driver.press("enter")
        await driver.press("ctrl+d", "escape")
        assert source.deleted == source.done == []


async def test_delete_takes_the_row_by_its_uid(start, source):
    async with start(source) as driver:
        await driver.press("ctrl+d", "tab", "tab", *"deepseek-r", "enter")
        assert driver.app.screen.query_one("#delete-now", Button).disabled
        await driver.press("1", "enter", "enter")
        assert source.deleted == [("default", "deepseek-r1", "uid-default-deepseek-r1")]
        assert driver.notes == ["deepseek-r1 is being deleted"]


async def test_delete_later_marks_and_can_be_undone(start, source, frozen_now):
    async with start(source) as driver:
        await driver.press("ctrl+d", "right", "enter")
        assert source.done == [("mark", "deepseek-r1", frozen_now + timedelta(hours=1))]
        assert driver.notes == ["deepseek-r1 is deleted in 60m; u undeletes"]
        await driver.press("u")
        assert source.done[1:] == [("undelete", "deepseek-r1")]


async def test_keys_that_come_at_once_after_a_question_answer_it(start, source):
    """Before the question is on the screen: none of them acts on the list below."""
    async with start(source) as driver:
        for key, character in [("ctrl+d", None), ("right", None), ("enter", "\r")]:
            driver.app.post_message(Key(key, character))
        await driver.settle()
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert [what[:2] for what in source.done] == [("mark", "deepseek-r1")]


async def test_a_mark_for_deletion_is_told_also_where_its_column_has_no_room(start, fake_source, checkpoint_body):
    due = {"annotations": {names.ANNOTATION_DELETE_AFTER: "2026-03-04T13:00:00Z"}}
    body = checkpoint_body("a", metadata={"name": "a", "namespace": "default", "uid": "u", **due}, status={"message": "Ready"})
    async with start(fake_source([body]), size=(80, 24)) as driver:
        assert "NOTES" not in driver.table.render_line(0).text
        assert driver.text("#message") == "⌫ at 13:00  Ready"


async def test_delete_takes_all_marked_rows_and_names_them(start, source):
    async with start(source) as driver:
        await driver.press("space", "space", "ctrl+d")
        assert driver.text("#delete-title") == "Delete 2 checkpoints?"
        assert driver.text("#delete-names") == "default/deepseek-r1\ndefault/gemma-2-9b"
        await driver.press("l", "h", "l", "enter")
        assert [name for _, name, _ in source.done] == ["deepseek-r1", "gemma-2-9b"]
        assert "marked" not in driver.text("#banner-facts")


async def test_marks_that_a_filter_hides_count_and_are_named(start, source):
    async with start(source) as driver:
        await driver.press("space", "slash", *"llama", "enter", "ctrl+d")
        assert driver.text("#delete-names") == "default/deepseek-r1"


async def test_a_long_list_of_names_is_cut_short(start, fake_source, checkpoint_body):
    async with start(fake_source([checkpoint_body(f"cp-{number}") for number in range(10)])) as driver:
        await driver.press(*["space"] * 10, "ctrl+d")
        assert driver.text("#delete-names").endswith("and 2 more")


async def test_a_refused_deletion_is_told(start, source):
    source.change_error = ConflictError("the UID in the precondition is another [/]")
    async with start(source) as driver:
        await driver.press("ctrl+d", "right", "enter")
        assert driver.notes == ["the UID in the precondition is another [/]"]


async def test_read_only_has_no_delete(start, source):
    async with start(source, read_only=True) as driver:
        await driver.press("ctrl+d")
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert "ctrl+d" not in driver.app.screen.active_bindings
        assert driver.text("#banner-facts-right") == "read-only  ● live"


async def test_refresh_lists_anew(start, source):
    async with start(source) as driver:
        del source.checkpoints[3]
        await driver.press("ctrl+r")
        assert source.watched == ["", ""]
        assert "deepseek-r1" not in driver.names


async def test_a_broken_watch_keeps_the_rows_and_comes_back(start, source, outage, pause):
    async with start(source) as driver:
        source.fail(outage)
        await driver.settle()
        assert len(driver.names) == 5
        assert driver.text("#banner-facts-right") == "▲ stale since 0s, retry in 1s"
        assert driver.text("#message") == str(outage)
        source.failures = [outage]
        await pause.pass_time()
        await driver.settle()
        assert driver.text("#banner-facts-right") == "▲ stale since 0s, retry in 2s"
        await pause.pass_time()
        await driver.settle()
        assert driver.text("#banner-facts-right") == "● live"
        assert pause.asked == [1.0, 2.0]


async def test_a_first_list_that_fails_says_why(start, source, outage):
    source.failures = [outage]
    async with start(source) as driver:
        assert driver.table.placeholder == str(outage)
        assert driver.text("#banner-facts-right").startswith("▲ no answer since")


async def test_before_the_first_list_it_says_loading(start, source):
    source.silent = True
    async with start(source) as driver:
        assert driver.table.placeholder == "Loading ..."
        assert driver.text("#banner-facts-right") == "◌ loading"


async def test_the_help_panel_comes_and_goes(start, source):
    async with start(source) as driver:
        await driver.press("question_mark")
        assert driver.app.screen.query(HelpPanel)
        await driver.press("question_mark")
        assert not driver.app.screen.query(HelpPanel)


async def test_escape_closes_the_help_before_the_filter(start, source):
    async with start(source) as driver:
        await driver.press("slash", *"8b", "enter", "question_mark", "escape")
        assert not driver.app.screen.query(HelpPanel)
        assert driver.names == ["llama-3-8b"]
        await driver.press("escape")
        assert len(driver.names) > 1


async def test_q_quits(start, source):
    async with start(source) as driver:
        await driver.press("q")
        assert driver.app.return_code == 0
