"""All that a mouse can do."""

from textual.events import MouseScrollDown, MouseScrollUp
from textual.widgets import Button, Input, OptionList, Tab

from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.modals import Choose, ConfirmDelete
from kubectl_chrek.tui.widgets.table import VirtualTable
from kubectl_chrek.tui.widgets.text import LogPane, Pane

FIRST_LINE = 1
"""Of a table, below its titles."""


async def click(driver, target, offset=(1, 0)):
    await driver.pilot.click(target, offset=offset)
    await driver.settle()


async def test_a_click_on_a_tab_shows_it(start, source):
    async with start(source) as driver:
        await driver.press("j", "j", "enter")
        found = {}
        for tab in ("yaml", "pods", "artifact", "overview"):
            await click(driver, f"#--content-tab-{tab}")
            found[tab] = driver.app.screen._tab
        assert found == {tab: tab for tab in found}
        assert driver.app.screen.query(Tab)


async def test_clicks_answer_a_question(start, source):
    async with start(source) as driver:
        await driver.press("ctrl+d")
        await click(driver, "#delete-now")
        assert isinstance(driver.app.screen, ConfirmDelete)
        await click(driver, "#delete-word")
        assert isinstance(driver.app.focused, Input)
        await click(driver, "#delete-cancel")
        assert isinstance(driver.app.screen, CheckpointsScreen)
        await driver.press("ctrl+d")
        assert driver.app.screen.query_one("#delete-now", Button).disabled
        await click(driver, "#delete-later")
        assert [what[:2] for what in source.done] == [("mark", "deepseek-r1")]


async def test_a_click_chooses_a_namespace(start, source):
    async with start(source) as driver:
        await driver.press("n")
        assert isinstance(driver.app.screen, Choose)
        await click(driver, OptionList, offset=(3, 2))
        assert driver.names == ["qwen-72b"]


async def test_a_click_on_a_key_in_the_footer_presses_it(start, source):
    async with start(source) as driver:
        footer = driver.app.screen.query_one("Footer")
        line = driver.app.screen._compositor.render_strips(driver.app.size)[footer.region.y].text
        await click(driver, "Footer", offset=(line.index("Namespace"), 0))
        assert isinstance(driver.app.screen, Choose)


async def wheel(driver, target, *, down, shift=False):
    """A turn of the wheel over the middle of a widget."""
    kind = MouseScrollDown if down else MouseScrollUp
    middle = (target.size.width // 2, target.size.height // 2)
    await driver.pilot._post_mouse_events([kind], widget=target, offset=middle, shift=shift)
    await driver.settle()


async def test_the_wheel_scrolls_a_table_and_the_cursor_stays_on_its_row(start, fake_source, checkpoint_body):
    many = fake_source([checkpoint_body(f"cp-{number:03d}") for number in range(100)])
    async with start(many) as driver:
        for _ in range(3):
            await wheel(driver, driver.table, down=True)
        down = driver.table.scroll_y
        assert down > 0
        assert driver.current == "cp-000"
        await click(driver, VirtualTable, offset=(5, FIRST_LINE))
        assert driver.current == f"cp-{round(down):03d}"
        await wheel(driver, driver.table, down=False)
        assert driver.table.scroll_y < down


async def test_the_wheel_scrolls_a_text(start, source):
    async with start(source, size=(100, 16)) as driver:
        await driver.press("j", "j", "enter", "6")
        pane = driver.app.focused
        assert isinstance(pane, Pane)
        await wheel(driver, pane, down=True)
        assert pane.scroll_y > 0


async def test_the_wheel_with_shift_moves_a_log_sideways(start, source):
    source.log += "INFO " * 100
    async with start(source) as driver:
        await driver.press("j", "j", "enter", "5")
        log = driver.app.focused
        assert isinstance(log, LogPane)
        await wheel(driver, log, down=True, shift=True)
        right = log.scroll_x
        assert right > 0
        await wheel(driver, log, down=False, shift=True)
        assert log.scroll_x < right


async def test_a_click_opens_what_a_row_of_another_screen_is_about(start, source):
    async with start(source, command="graphs") as driver:
        row = next(number for number, entry in enumerate(driver.table.rows) if entry.name == "chat-decode-0")
        for _ in range(2):
            await click(driver, VirtualTable, offset=(8, FIRST_LINE + row))
        assert isinstance(driver.app.screen, DetailScreen)
