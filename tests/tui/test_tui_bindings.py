"""Every key there is does what it says, pressed once in a place where that can be seen."""

import pkgutil
from importlib import import_module

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.widgets import HelpPanel, Input, OptionList

from kubectl_chrek import tui
from kubectl_chrek.tui.actions import ACTIONS
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.command_line import CommandLine
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.diff import DiffScreen
from kubectl_chrek.tui.screens.doctor import NotesScreen
from kubectl_chrek.tui.screens.modals import Choose, ConfirmDelete
from kubectl_chrek.tui.screens.plan import PlanScreen
from kubectl_chrek.tui.screens.prewarm import PrewarmScreen
from kubectl_chrek.tui.screens.storage import StorageScreen

pytestmark = pytest.mark.usefixtures("unseen")


@pytest.fixture
def source(source):
    """Its log has a line that is longer than a screen is wide."""
    source.log += "INFO " * 100
    return source


LLAMA = "j j"
DETAIL = f"{LLAMA} enter"
DIFF = "space space x"
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


def panned(*, right):
    return lambda driver, source: (driver.app.focused.scroll_x > 0) is right


def did(*what):
    return lambda driver, source: [each[: len(what)] for each in source.done] == [what]


def said(text):
    return lambda driver, source: any(text in note for note in driver.notes)


def policy(flags):
    return lambda driver, source: f"gc {flags} " in driver.text("#banner-facts")


def facts(text):
    return lambda driver, source: text in driver.text("#banner-facts")


def line(text):
    return lambda driver, source: driver.app.screen.query_one(Input).value == text


def starts_with(text):
    return lambda driver, source: driver.text("#diff-text").split()[0] == text


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
    "log.left": ("", f"{DETAIL} 5 right", panned(right=False)),
    "log.right": ("", f"{DETAIL} 5", panned(right=True)),
    "view.filter": ("", "", lambda driver, source: driver.app.focused is driver.app.screen.query_one("#filter", Input)),
    "view.clear": ("nodes", "", on(CheckpointsScreen)),
    "view.namespace": ("", "", on(Choose)),
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
    "list.diff": ("", "space space", on(DiffScreen)),
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
    "diff.back": ("", DIFF, on(CheckpointsScreen)),
    "diff.swap": ("", DIFF, starts_with("default/gemma-2-9b")),
    "diff.refresh": ("", DIFF, lambda driver, source: source.watched == ["", ""]),
    "storage.what-if": ("storage", "", line("gc --unreferenced ")),
    "plan.policy": ("gc --failed --orphans", "", line("gc --failed --orphans ")),
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
    """The first of its keys is pressed; the others lead to the same action from the same place."""
    monkeypatch.chdir(tmp_path)
    command, keys, expected = CASES[action.id]
    first, *others = action.keys.split(",")
    async with start(source, size=(120, 24), command=command) as driver:
        await driver.press(*keys.split())
        active = driver.app.screen.active_bindings
        assert [key for key in (first, *others) if active[key].binding.id != action.id] == []
        await driver.press(first)
        assert expected(driver, source)


def focused(selector):
    return lambda driver, source: driver.app.focused is driver.app.screen.query_one(selector)


def highlighted(number):
    return lambda driver, source: driver.app.screen.query_one(OptionList).highlighted == number


OLD = "colon n o d e s enter colon d o c t o r enter colon"
QUESTIONS = {
    ("CommandLine", "escape"): ("colon x", on(CheckpointsScreen)),
    ("CommandLine", "up"): (OLD, line("doctor")),
    ("CommandLine", "down"): (f"{OLD} up up", line("doctor")),
    ("CommandLine", "tab"): ("colon n o", line("nodes")),
    ("ConfirmDelete", "escape"): ("ctrl+d", on(CheckpointsScreen)),
    ("ConfirmDelete", "left"): ("ctrl+d right", focused("#delete-cancel")),
    ("ConfirmDelete", "h"): ("ctrl+d right", focused("#delete-cancel")),
    ("ConfirmDelete", "right"): ("ctrl+d", focused("#delete-later")),
    ("ConfirmDelete", "l"): ("ctrl+d", focused("#delete-later")),
    ("Choose", "escape"): ("n", on(CheckpointsScreen)),
    ("Choose", "j"): ("n", highlighted(1)),
    ("Choose", "k"): ("n j", highlighted(0)),
}
"""The keys of questions, which nobody can map to others: by class and key, the keys that lead there and what is true then."""


def nodes():
    """All our widgets, screens and the application."""
    modules = [import_module(found.name) for found in pkgutil.walk_packages(tui.__path__, f"{tui.__name__}.")]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return [each for each in classes if issubclass(each, DOMNode) and each.__module__.startswith(tui.__name__)]


def test_every_binding_of_ours_is_pressed_here():
    """Those with an id are the registry's."""
    made = [(each.__name__, binding) for each in nodes() for binding in Binding.make_bindings(vars(each).get("BINDINGS") or ())]
    assert {binding.id for _, binding in made if binding.id} == CASES.keys()
    assert {(name, binding.key) for name, binding in made if not binding.id} == QUESTIONS.keys()


@pytest.mark.parametrize(("name", "key"), QUESTIONS, ids=["-".join(each) for each in QUESTIONS])
async def test_key_of_a_question(start, source, name, key):
    keys, expected = QUESTIONS[name, key]
    async with start(source) as driver:
        await driver.press(*keys.split())
        assert type(driver.app.screen).__name__ == name
        await driver.press(key)
        assert expected(driver, source)


@pytest.mark.parametrize("place", ["", DETAIL, DIFF, "w", "colon n o d e s enter"])
@pytest.mark.parametrize("opened", ["toggle_help", "show_help_panel"], ids=["by its key", "by the palette"])
async def test_escape_closes_the_help_and_then_does_what_it_does(start, source, place, opened):
    async with start(source) as driver:
        await driver.press(*place.split())
        screen = driver.app.screen
        await driver.app.run_action(opened)
        await driver.settle()
        assert screen.query(HelpPanel)
        await driver.press("escape")
        assert not screen.query(HelpPanel)
        assert driver.app.screen is screen
        await driver.press("escape")
        assert isinstance(driver.app.screen, CheckpointsScreen)


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
