"""The registry of keys is complete, unambiguous and what the palette offers."""

import pytest

from kubectl_chrek.tui.actions import ACTIONS, NEEDS, Where
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.diff import DiffScreen
from kubectl_chrek.tui.screens.graphs import GraphsScreen
from kubectl_chrek.tui.screens.listing import ListScreen
from kubectl_chrek.tui.screens.plan import PlanScreen
from kubectl_chrek.tui.screens.prewarm import PrewarmScreen
from kubectl_chrek.tui.screens.storage import StorageScreen
from kubectl_chrek.tui.widgets.table import VirtualTable
from kubectl_chrek.tui.widgets.text import LogPane, Pane

ANSWERS = {
    Where.APP: [ChrekApp],
    Where.TABLE: [VirtualTable],
    Where.TEXT: [Pane, LogPane],
    Where.LOG: [LogPane],
    Where.VIEW: [ListScreen],
    Where.LIST: [CheckpointsScreen],
    Where.DETAIL: [DetailScreen],
    Where.DIFF: [DiffScreen],
    Where.GRAPHS: [GraphsScreen],
    Where.STORAGE: [StorageScreen],
    Where.PLAN: [PlanScreen],
    Where.FORM: [PrewarmScreen],
}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_has_someone_who_answers(action):
    part, _, method = action.method.partition("(")[0].rpartition(".")
    if part:
        assert (part, callable(getattr(ChrekApp, f"action_{method}", None))) == ("app", True)
        return
    assert all(callable(getattr(part, f"action_{method}", None)) for part in ANSWERS[action.where])


def test_ids_are_unique():
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)


TABLES = [[Where.TABLE, Where.VIEW, Where.LIST], [Where.TABLE, Where.VIEW, Where.GRAPHS], [Where.TABLE, Where.VIEW, Where.PLAN]]
TABLES += [[Where.TABLE, Where.VIEW, Where.STORAGE]]


@pytest.mark.parametrize(
    "parts", [*TABLES, [Where.TABLE, Where.DETAIL], [Where.TEXT, Where.LOG, Where.DETAIL], [Where.TEXT, Where.DIFF], [Where.FORM]]
)
def test_no_key_means_two_things_at_once(parts):
    together = [action for action in ACTIONS if action.where in (*parts, Where.APP)]
    keys = [key for action in together for key in action.keys.split(",")]
    assert {key for key in keys if keys.count(key) > 1} == set()


def test_every_action_is_explained():
    assert all(action.label and action.label[0].isupper() for action in ACTIONS)


def test_what_changes_the_cluster_is_marked():
    assert NEEDS == {
        "delete": "delete",
        "prewarm": "create",
        "submit": "create",
        "pin": "patch",
        "verify": "patch",
        "undelete": "patch",
        "run_plan": "patch",
    }


async def test_the_palette_offers_the_screens_actions(start, source):
    async with start(source) as driver:
        offered = {command.title for command in driver.app.get_system_commands(driver.app.screen)}
        assert {action.label for action in ACTIONS if action.where in (Where.LIST, Where.VIEW)} <= offered


async def test_the_palette_of_a_read_only_session_has_no_delete(start, source):
    async with start(source, read_only=True) as driver:
        offered = {command.title for command in driver.app.get_system_commands(driver.app.screen)}
        assert "Filter" in offered
        assert "Delete" not in offered


async def test_a_command_of_the_palette_does_what_its_key_does(start, source):
    async with start(source) as driver:
        commands = {command.title: command.callback for command in driver.app.get_system_commands(driver.app.screen)}
        await commands["Mark"]()
        await driver.settle()
        assert "1 marked" in driver.text("#banner-facts")
