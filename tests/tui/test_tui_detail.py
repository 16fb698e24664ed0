"""The detail of one checkpoint under a user's hands, while the cluster moves."""

import asyncio

import pytest
from textual.events import Key

from kubectl_chrek.ops.logs import Line, Source
from kubectl_chrek.tui.plain import Plain
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.modals import ConfirmDelete
from kubectl_chrek.tui.widgets.table import VirtualTable
from kubectl_chrek.tui.widgets.text import LogPane, Pane

PODS = "pods"


@pytest.fixture
def open_llama(start, source):
    class Open:
        def __init__(self, key="enter", **options):
            self.key, self.running = key, start(source, **options)

        async def __aenter__(self):
            driver = await self.running.__aenter__()
            await driver.press("j", "j", self.key)
            return driver

        async def __aexit__(self, *error):
            await self.running.__aexit__(*error)

    return Open


TABS = {
    "2": "timeline",
    "1": "overview",
    "t": "timeline",
    "d": "overview",
    "3": "pods",
    "o": "overview",
    "p": "pods",
    "4": "events",
    "5": "logs",
    "v": "events",
    "6": "yaml",
    "l": "logs",
    "y": "yaml",
    "7": "identity",
    "8": "compat",
    "9": "artifact",
    "w": "identity",
    "m": "compat",
    "i": "artifact",
}


async def test_a_key_shows_its_tab_and_the_tab_has_the_keys(open_llama):
    async with open_llama() as driver:
        found = {}
        for key in TABS:
            await driver.press(key)
            found[key] = driver.app.screen._tab
            assert isinstance(driver.app.focused, Pane | LogPane | VirtualTable)
        assert found == TABS


async def test_a_tabs_key_that_comes_before_the_tabs_is_heeded(start, source):
    async with start(source) as driver:
        for key, character in [("enter", "\r"), ("2", "2")]:
            driver.app.post_message(Key(key, character))
        await driver.settle()
        assert driver.app.screen._tab == "timeline"


@pytest.mark.parametrize("key", ["escape", "backspace"])
async def test_back_goes_to_the_list_with_the_cursor_where_it_was(open_llama, key):
    async with open_llama() as driver:
        await driver.press(key)
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.current == "llama-3-8b"


async def test_a_change_is_shown_while_one_looks(open_llama, source, checkpoint_body, ready):
    async with open_llama() as driver:
        assert "12 restored, 3 cold" in driver.text("#overview-state")
        source.send("MODIFIED", checkpoint_body("llama-3-8b", status=ready(restores=13)))
        await driver.settle()
        assert "13 restored, 3 cold" in driver.text("#overview-state")


async def test_the_list_has_caught_up_when_one_comes_back(open_llama, source, checkpoint_body):
    async with open_llama() as driver:
        source.send("ADDED", checkpoint_body("aaa-first"))
        await driver.settle()
        await driver.press("escape")
        assert driver.names[0] == "aaa-first"
        assert driver.current == "llama-3-8b"


async def test_when_it_is_deleted_it_says_so_and_goes_back(open_llama, source):
    async with open_llama() as driver:
        source.send("DELETED", source.checkpoints[0])
        await driver.settle()
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.notes == ["llama-3-8b was deleted"]


async def test_another_object_of_the_same_name_is_another(open_llama, source, checkpoint_body):
    async with open_llama() as driver:
        source.send("DELETED", source.checkpoints[0])
        source.send("ADDED", checkpoint_body("llama-3-8b", uid="another", phase="Pending"))
        await driver.settle()
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.notes == ["llama-3-8b was deleted"]


async def test_deleted_behind_a_question_it_goes_back_after_the_answer(open_llama, source):
    async with open_llama() as driver:
        await driver.press("ctrl+d")
        source.send("DELETED", source.checkpoints[0])
        await driver.settle()
        assert isinstance(driver.app.screen, ConfirmDelete)
        await driver.press("escape")
        assert isinstance(driver.app.screen, CheckpointsScreen)


async def test_an_outage_does_not_send_one_back(open_llama, source, outage):
    async with open_llama() as driver:
        source.fail(outage)
        await driver.settle()
        assert isinstance(driver.app.screen, DetailScreen)
        assert driver.text("#banner-facts-right").startswith("▲ stale")


async def test_pods_come_and_the_reason_of_the_one_under_the_cursor_is_told(open_llama, source, pod_body):
    async with open_llama() as driver:
        await driver.press("3", "j")
        assert driver.names == [
            "checkpoint-llama-3-8b-7hq2v",
            "llama-decode-6d4f8-9wzrp",
            "llama-decode-6d4f8-m7tqd",
            "llama-decode-6d4f8-x2lkq",
        ]
        assert driver.text("#pod-why") == "llama-decode-6d4f8-9wzrp: the GPU is an A100, the capture is of an H200"
        source.send("ADDED", pod_body("aaa"), watch=PODS)
        source.send("DELETED", source.pods[3], watch=PODS)
        await driver.settle()
        assert driver.names[1] == "aaa"
        assert "llama-decode-6d4f8-m7tqd" not in driver.names


async def test_without_pods_it_says_so(open_llama, source):
    source.pods = []
    async with open_llama() as driver:
        await driver.press("3")
        assert driver.app.screen.query_one(VirtualTable).placeholder.startswith("No pods")


async def test_pods_that_cannot_be_watched_say_why(open_llama, source, outage):
    async def refuse(*_):
        raise outage
        yield

    source.watch_pods = refuse
    async with open_llama() as driver:
        await driver.press("3")
        assert driver.app.screen.query_one(VirtualTable).placeholder == str(outage)


async def test_events_of_checkpoint_job_and_pods_are_asked_for_again_and_again(open_llama, source, event_body, pause):
    async with open_llama("v") as driver:
        assert "A100 [nvidia.com/gpu]" in driver.text("#events-text")
        assert source.asked_about[-1] == (
            "llama-3-8b",
            "checkpoint-llama-3-8b",
            "llama-decode-6d4f8-x2lkq",
            "llama-decode-6d4f8-m7tqd",
            "llama-decode-6d4f8-9wzrp",
            "checkpoint-llama-3-8b-7hq2v",
        )
        source.event_list.append(event_body("e4", "RestoreSucceeded", "in 6.1s"))
        await pause.pass_time()
        await driver.settle()
        assert "RestoreSucceeded" in driver.text("#events-text")


async def test_events_are_not_asked_for_out_of_view(open_llama, source, pause):
    async with open_llama("v") as driver:
        await driver.press("1")
        asked = len(source.asked_about)
        await pause.pass_time()
        await driver.settle()
        assert len(source.asked_about) == asked


async def test_the_log_comes_line_by_line(open_llama, source, outage):
    lines = asyncio.Queue()

    async def follow(namespace, checkpoint):
        while True:
            line = await lines.get()
            if isinstance(line, Exception):
                raise line
            yield Line("2026-03-04T12:00:00Z", Source("job", namespace, "p", "main"), line)

    source.follow_logs = follow
    async with open_llama("l") as driver:
        log = driver.app.screen.query_one(LogPane)
        assert log.lines[0].startswith("No log yet")
        for text in ("loading [/]", "\x1b[32mready"):
            lines.put_nowait(text)
            await driver.settle()
        assert log.lines[:2] == ["[job/p] loading [/]", "[job/p] ready"]


async def test_the_end_of_a_long_line_stays_in_view_while_others_come(open_llama, source):
    lines = asyncio.Queue()

    async def follow(namespace, checkpoint):
        while True:
            yield Line(None, Source("job", namespace, "p", "main"), await lines.get())

    source.follow_logs = follow
    async with open_llama("l") as driver:
        log = driver.app.screen.query_one(LogPane)
        lines.put_nowait("x" * 300 + " the end")
        await driver.settle()
        await driver.press(*["right"] * 20)
        assert log.scroll_x == log.max_scroll_x > 0
        lines.put_nowait("a short one")
        await driver.settle()
        assert log.scroll_x == log.max_scroll_x > 0
        assert log.render_line(0).text.rstrip().endswith("the end")
        await driver.press(*["left"] * 20)
        assert log.render_line(0).text.startswith("[job/p] xxx")


@pytest.mark.parametrize("tab", ["v", "l"])
async def test_what_cannot_be_read_says_why(open_llama, source, outage, pause, tab):
    async def refuse(*_):
        raise outage

    async def refuse_lines(*_):
        raise outage
        yield

    source.events, source.follow_logs = refuse, refuse_lines
    async with open_llama(tab) as driver:
        await pause.pass_time()
        await driver.settle()
        shown = driver.text("#events-text") if tab == "v" else "\n".join(driver.app.screen.query_one(LogPane).lines)
        assert str(outage) in shown


async def test_what_was_read_stays_while_the_connection_is_lost(open_llama, source, outage, pause):
    """Events, log and pods; the log is begun anew when it comes back."""
    begun = []

    async def follow(namespace, checkpoint):
        begun.append(checkpoint)
        yield Line(None, Source("job", namespace, "p", "main"), f"run {len(begun)}")
        if len(begun) == 1:
            raise outage
        await asyncio.Event().wait()

    async def refuse(*_):
        raise outage

    source.follow_logs = follow
    async with open_llama("v") as driver:
        source.events = refuse
        source.fail(outage, watch=PODS)
        await pause.pass_time()
        await driver.settle()
        assert str(outage) in driver.text("#events-text")
        assert "CaptureSucceeded" in driver.text("#events-text")
        await driver.press("3")
        assert len(driver.names) == 4
        assert driver.text("#pod-why") == str(outage)
        assert driver.text("#banner-facts-right").startswith("▲ stale")
        await driver.press("5")
        log = driver.app.screen.query_one(LogPane)
        assert log.lines[:2] == ["[job/p] run 1", str(outage)]
        await pause.pass_time()
        await driver.settle()
        assert log.lines[0] == "[job/p] run 2"


async def test_the_yaml_follows_the_object(open_llama, source, checkpoint_body):
    async with open_llama("y") as driver:
        assert "generation: 0b7c" in driver.text("#yaml-text")
        source.send("MODIFIED", checkpoint_body("llama-3-8b", phase="Failed"))
        await driver.settle()
        assert "phase: Failed" in driver.text("#yaml-text")


async def test_text_scrolls_under_the_same_keys_as_the_table(open_llama):
    async with open_llama("y", size=(80, 14)) as driver:
        pane = driver.app.focused
        assert isinstance(pane, Pane)
        page, end = pane.size.height, pane.max_scroll_y
        moves = {"j": 1, "down": 1, "j j k": 1, "j up": 0, "G": end, "end": end, "G g": 0, "G home": 0}
        moves |= {"pagedown": page, "ctrl+f": page, "space": page, "G pageup": end - page, "G ctrl+b": end - page}
        found = {}
        for keys in moves:
            pane.scroll_home(animate=False)
            await driver.press(*keys.split())
            found[keys] = pane.scroll_y
        assert found == moves


async def test_the_name_is_copied(open_llama):
    async with open_llama() as driver:
        await driver.press("c")
        assert driver.app.clipboard == "llama-3-8b"


async def test_delete_asks_and_takes_it_by_its_uid(open_llama, source):
    async with open_llama() as driver:
        await driver.press("ctrl+d", "enter")
        assert source.deleted == []
        await driver.press("ctrl+d", "tab", "tab", *"llama-3-8b", "enter", "enter")
        assert source.deleted == [("default", "llama-3-8b", "uid-default-llama-3-8b")]


async def test_read_only_has_no_delete(open_llama):
    async with open_llama(read_only=True) as driver:
        await driver.press("ctrl+d")
        assert isinstance(driver.app.screen, DetailScreen)


async def test_refresh_lists_anew(open_llama, source):
    async with open_llama() as driver:
        await driver.press("ctrl+r")
        assert source.watched == ["", ""]
        assert isinstance(driver.app.screen, DetailScreen)


async def test_the_bars_follow_the_width(open_llama):
    async with open_llama() as driver:
        await driver.press("2")

        def dump():
            shown = str(driver.app.screen.query_one("#timeline-text", Plain).content)
            return next(line for line in shown.split("\n") if line.startswith("dump")).count("█")

        before = dump()
        await driver.pilot.resize_terminal(70, 30)
        await driver.settle()
        assert 0 < dump() < before
