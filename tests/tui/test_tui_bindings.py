"""Every key of the registry does what it says, pressed once in a place where that can be seen."""

import pytest
from textual.widgets import HelpPanel, Input

from kubectl_chrek.tui.actions import ACTIONS
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.command_line import CommandLine
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.doctor import NotesScreen
from kubectl_chrek.tui.screens.modals import ChooseNamespace, ConfirmDelete
from kubectl_chrek.tui.screens.plan import PlanScreen
from kubectl_chrek.tui.screens.prewarm import PrewarmScreen
from kubectl_chrek.tui.screens.storage import StorageScreen

LLAMA = "j j"
DETAIL = f"{LLAMA} enter"
"""Keys that lead to a place with a Ready checkpoint."""


def on(screen):
    return lambda driver, source: isinstance(driver.app.screen, screen)


def at(name):
    return lambda driver, source: driver.current == name


def tab(name):
    return lambda driver, source: driver.app.screen._tab == name


def at_top(driver, source):
    return driver.app.focused.scroll_y == 0


def at_bottom(driver, source):
    return driver.app.focused.scroll_y == driver.app.focused.max_scroll_y > 0


def moved(driver, source):
    return driver.app.focused.scroll_y > 0


def did(*what):
    return lambda driver, source: [each[: len(what)] for each in source.done] == [what]


def said(text):
    return lambda driver, source: any(text in note for note in driver.notes)


def policy(flags):
    return lambda driver, source: f"gc {flags} " in driver.text("#banner-facts")


def facts(text):
    return lambda driver, source: text in driver.text("#banner-facts")


def sorted_by(column):
    return lambda driver, source: column in driver.table.arrows


# By the action's id: a command to start with, the keys that lead to the place, and what is true after the action's own key.
CASES = {
    "table.up": ("", "j j", at("gemma-2-9b")),
    "table.down": ("", "", at("gemma-2-9b")),
    "table.page-up": ("", "G", at("deepseek-r1")),
    "table.page-down": ("", "", at("qwen-72b")),
    "table.first": ("", "G", at("deepseek-r1")),
    "table.last": ("", "", at("qwen-72b")),
    "text.up": ("", f"{DETAIL} y j", at_top),
    "text.down": ("", f"{DETAIL} y", moved),
    "text.page-up": ("", f"{DETAIL} y j", at_top),
    "text.page-down": ("", f"{DETAIL} y", moved),
    "text.first": ("", f"{DETAIL} y G", at_top),
    "text.last": ("", f"{DETAIL} y", at_bottom),
    "view.filter": ("", "", lambda driver, source: driver.app.focused is driver.app.screen.query_one("#filter", Input)),
    "view.clear": ("nodes", "", on(CheckpointsScreen)),
    "view.namespace": ("", "", on(ChooseNamespace)),
    "view.all-namespaces": ("ns research", "", lambda driver, source: source.watched[-1] == ""),
    "view.copy": ("", "", said("Copied deepseek-r1")),
    "view.refresh": ("", "", lambda driver, source: source.watched == ["", ""]),
    "list.open": ("", LLAMA, tab("overview")),
    "list.describe": ("", LLAMA, tab("overview")),
    "list.yaml": ("", LLAMA, tab("yaml")),
    "list.logs": ("", LLAMA, tab("logs")),
    "list.events": ("", LLAMA, tab("events")),
    "list.inspect": ("", LLAMA, tab("artifact")),
    "list.mark": ("", "", facts("1 marked")),
    "list.range": ("", "space G", facts("5 marked")),
    "list.unmark": ("", "space space", lambda driver, source: "marked" not in driver.text("#banner-facts")),
    "list.sort-name": ("", "A", sorted_by("name")),
    "list.sort-age": ("", "", sorted_by("age")),
    "list.sort-size": ("", "", sorted_by("size")),
    "list.sort-phase": ("", "", sorted_by("phase")),
    "list.prewarm": ("", LLAMA, on(PrewarmScreen)),
    "list.pin": ("", LLAMA, did("pin", "llama-3-8b")),
    "list.verify": ("", LLAMA, did("verify", "llama-3-8b")),
    "list.undelete": ("", LLAMA, said("is not marked for deletion")),
    "list.delete": ("", LLAMA, on(ConfirmDelete)),
    "list.plan": ("", "", on(PlanScreen)),
    "list.storage": ("", "", on(StorageScreen)),
    "detail.back": ("", DETAIL, on(CheckpointsScreen)),
    "detail.overview": ("", f"{DETAIL} 2", tab("overview")),
    "detail.timeline": ("", DETAIL, tab("timeline")),
    "detail.pods": ("", DETAIL, tab("pods")),
    "detail.events": ("", DETAIL, tab("events")),
    "detail.logs": ("", DETAIL, tab("logs")),
    "detail.yaml": ("", DETAIL, tab("yaml")),
    "detail.identity": ("", DETAIL, tab("identity")),
    "detail.compat": ("", DETAIL, tab("compat")),
    "detail.artifact": ("", DETAIL, tab("artifact")),
    "detail.edit": ("", DETAIL, lambda driver, source: isinstance(driver.app.focused, Input)),
    "detail.copy": ("", DETAIL, said("Copied llama-3-8b")),
    "detail.refresh": ("", DETAIL, lambda driver, source: source.watched == ["", ""]),
    "detail.pin": ("", DETAIL, did("pin", "llama-3-8b")),
    "detail.verify": ("", DETAIL, did("verify", "llama-3-8b")),
    "detail.undelete": ("", DETAIL, said("is not marked for deletion")),
    "detail.delete": ("", DETAIL, on(ConfirmDelete)),
    "graphs.open": ("graphs", "j j", on(DetailScreen)),
    "plan.take-out": ("gc --failed", "", facts("0 checkpoints")),
    "plan.unreferenced": ("gc --failed", "", policy("--unreferenced --failed")),
    "plan.failed": ("gc --failed --orphans", "", policy("--orphans")),
    "plan.orphans": ("gc --failed", "", policy("--failed --orphans")),
    "plan.incompatible": ("gc --failed", "", policy("--failed --incompatible")),
    "plan.run": ("gc --failed", "", on(ConfirmDelete)),
    "form.back": ("prewarm", "", on(CheckpointsScreen)),
    "form.submit": ("prewarm", "", said("is required")),
    "app.command": ("", "", on(CommandLine)),
    "app.errors": ("", "", on(NotesScreen)),
    "app.screenshot": ("", "", said("Saved kubectl-chrek-20260304-120000.svg")),
    "app.help": ("", "", lambda driver, source: bool(driver.app.screen.query(HelpPanel))),
    "app.quit": ("", "", lambda driver, source: driver.app.return_code == 0),
}


def test_every_action_has_a_case():
    assert CASES.keys() == {action.id for action in ACTIONS}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
async def test_key(start, source, action, monkeypatch, tmp_path):
    """The first of its keys; that others of the same action are bound as well is the registry's and Textual's business."""
    monkeypatch.chdir(tmp_path)
    command, keys, expected = CASES[action.id]
    async with start(source, size=(120, 24), command=command) as driver:
        await driver.press(*keys.split(), action.keys.partition(",")[0])
        assert expected(driver, source)


WRITES = [action for action in ACTIONS if action.needs]


@pytest.mark.parametrize("read_only", [True, False])
async def test_what_one_may_not_do_is_not_offered(start, source, read_only):
    source.allowed = frozenset()
    async with start(source, read_only=read_only) as driver:
        for place in ("", "j j enter"):
            await driver.press(*place.split())
            screen = driver.app.screen
            offered = {command.title for command in driver.app.get_system_commands(screen)}
            found = [action for action in WRITES if action.where in screen.WHERES]
            assert found
            assert not offered & {action.label for action in found}
            for action in found:
                await driver.press(action.keys.partition(",")[0])
            assert driver.app.screen is screen
    assert source.done == source.deleted == []


async def test_rights_are_those_of_the_namespace(start, source):
    async with start(source) as driver:
        source.allowed = frozenset({"patch"})
        await driver.app.action_command("ns research")
        await driver.settle()
        await driver.press("ctrl+d", "p")
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert source.done == [("pin", "qwen-72b")]


async def test_rights_that_are_not_known_take_nothing_away(start, source, outage):
    async def refuse(namespace):
        raise outage

    source.rights = refuse
    async with start(source) as driver:
        await driver.press("ctrl+d")
        assert isinstance(driver.app.screen, ConfirmDelete)
