"""The page about the TUI names every key and every command there is."""

from pathlib import Path

from kubectl_chrek.tui.actions import ACTIONS
from kubectl_chrek.tui.commands import COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tui.md"
UNEXPLAINED = {"help", "quit"}
"""Commands that need no line in the table."""


def test_the_page_lists_the_actions():
    rows = ["| action | keys | does |", "|---|---|---|"]
    rows += [f"| `{action.id}` | {' '.join(f'`{key}`' for key in action.keys.split(','))} | {action.label} |" for action in ACTIONS]
    begin, end = "<!-- actions -->\n", "\n<!-- end of actions -->"
    assert PAGE.read_text().partition(begin)[2].partition(end)[0] == "\n".join(rows)


def test_the_page_names_the_commands():
    page = PAGE.read_text()
    assert [command.name for command in COMMANDS if command.name not in UNEXPLAINED and f"`:{command.name}" not in page] == []


def test_the_pictures_are_there():
    named = [part.partition(")")[0] for part in PAGE.read_text().split("](images/")[1:]]
    assert named
    assert [name for name in named if not (PAGE.parent / "images" / name).is_file()] == []
