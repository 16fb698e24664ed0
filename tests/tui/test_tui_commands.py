"""The command line: pure parsing and completion, then under a user's hands."""

import pytest
from textual.events import Key
from textual.widgets import Input
from tui_samples import NOW, ago

from kubectl_chrek.api.errors import ClusterError, UsageError
from kubectl_chrek.tui.commands import COMMANDS, Argument, complete, parse
from kubectl_chrek.tui.policies import DEFAULT, parse_policy, policy_text
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.doctor import DoctorScreen
from kubectl_chrek.tui.screens.nodes import NodesScreen
from kubectl_chrek.tui.session import Note


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("nodes", "nodes", ""),
        (" :NO ", "nodes", ""),
        ("dgd research", "graphs", "research"),
        ("gc  --failed --keep-last 2", "gc", "--failed --keep-last 2"),
        ("ns", "ns", ""),
        ("q!", "quit", ""),
    ],
)
def test_a_line_is_a_command_and_an_argument(line, name, argument):
    command, rest = parse(line)
    assert (command.name, rest) == (name, argument)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("nods", "there is no command 'nods'", "did you mean nodes?"),
        ("", "there is no command ''", "one of checkpoints, graphs"),
        ("quit now", "quit takes no argument, got 'now'", ""),
    ],
)
def test_what_is_no_command_says_so(line, message, hint):
    with pytest.raises(UsageError) as error:
        parse(line)
    assert str(error.value) == message
    assert error.value.hint.startswith(hint)


def test_no_word_means_two_commands():
    words = [word for command in COMMANDS for word in (command.name, *command.aliases)]
    assert len(words) == len(set(words))


def test_a_line_is_completed():
    offers = {Argument.NAMESPACE: ["default", "research"], Argument.CONTEXT: ["east"]}
    lines = {
        "": "",
        "no": "nodes",
        "st": "storage",
        "x": "x",
        "ns re": "ns research",
        "ctx ": "ctx east",
        "ns x": "ns x",
        "zz y": "zz y",
    }
    assert {line: complete(line, offers) for line in lines} == lines


POLICIES = [
    "--failed",
    "a b --unreferenced --keep-last 2 --older-than 14d",
    "--all",
    "--keep-within 3h --max-bytes 500Gi --low-bytes 400Gi",
]


@pytest.mark.parametrize("line", POLICIES)
def test_a_policy_is_read_and_spelled_alike(line):
    assert policy_text(parse_policy(line)) == line


def test_without_flags_the_policy_is_the_usual_one():
    assert parse_policy("") == DEFAULT
    assert parse_policy("--keep-last=3").keep_last == 3


@pytest.mark.parametrize("line", ["--nope", "--keep-last", "--keep-last x", "--max-bytes many", "--all --failed", "'"])
def test_a_bad_policy_is_refused(line):
    with pytest.raises(UsageError):
        parse_policy(line)


async def test_a_command_is_typed_completed_and_remembered(start, source):
    async with start(source) as driver:
        await driver.press("colon", *"nod", "tab", "enter")
        assert isinstance(driver.app.screen, NodesScreen)
        assert driver.text("#banner-place").endswith("checkpoints ▸ nodes")
        await driver.press("colon", *"doctor", "enter")
        assert isinstance(driver.app.screen, DoctorScreen)
        await driver.press("colon", "up", "up", "down", "up")
        assert driver.app.screen.query_one(Input).value == "nodes"
        await driver.press("enter", "escape")
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.app.commander.history == ["doctor", "nodes"]


async def test_a_colon_and_a_slash_in_a_field_are_text(start, source):
    async with start(source) as driver:
        await driver.press("slash", "a", "slash", "colon", "b")
        assert driver.app.screen.query_one("#filter", Input).value == "a/:b"


async def test_letters_that_come_at_once_after_the_colon_are_letters(start, source):
    async with start(source) as driver:
        for key, character in [("colon", ":"), *((letter, letter) for letter in "nodes"), ("enter", "\r")]:
            driver.app.post_message(Key(key, character))
        await driver.settle()
        assert isinstance(driver.app.screen, NodesScreen)


async def test_escape_and_an_empty_line_do_nothing(start, source):
    async with start(source) as driver:
        await driver.press("colon", "x", "escape", "colon", "down", "enter")
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.notes == []


async def test_what_is_wrong_with_a_line_is_told_and_stays_readable(start, source):
    async with start(source) as driver:
        for line in ("nods", "gc --nope", "theme nope", "ctx", "screenshot /nowhere/x.svg"):
            await driver.app.action_command(line)
        await driver.app.action_command("errors")
        await driver.settle()
        assert len(driver.table.rows) == 5
        assert "cannot write /nowhere/x.svg" in driver.text("#about-text")
        await driver.press("G")
        assert "did you mean nodes?" in driver.text("#about-text")


async def test_an_outage_stays_readable_after_it_is_over(start, source, outage, pause):
    async with start(source) as driver:
        source.fail(outage)
        await driver.settle()
        await pause.pass_time()
        await driver.settle()
        await driver.app.action_command("errors")
        await driver.settle()
        assert str(outage) in driver.text("#about-text")


async def test_what_several_watches_tell_of_one_outage_is_one_line(start, source, outage):
    async with start(source) as driver:
        await driver.press("j", "j", "enter")
        for watch in ("checkpoints", "pods", "nodes"):
            source.fail(outage, watch)
        await driver.settle()
        for line in ("nods", "nods", "errors"):
            await driver.app.action_command(line)
        await driver.settle()
        told, lost = ([cell.text for cell in entry.cells[1:]] for entry in driver.table.rows)
        assert told[1].startswith("(x2) there is no command")
        assert lost == ["✗ error", f"(x3) {outage}"]
        await driver.press("G")
        assert f"(x3) {outage}" in driver.text("#about-text")


def test_what_is_told_again_has_the_time_of_the_last(make_app, fake_source):
    times = [ago(minutes=3), ago(minutes=2), ago(minutes=1), NOW]
    session = make_app(fake_source(), now=iter(times).__next__).session
    for message, severity in [("a", "error"), ("a", "error"), ("a", "warning"), ("a", "error")]:
        session.note(message, severity)
    assert [*session.notes] == [Note(times[1], "error", "a", 2), Note(times[2], "warning", "a"), Note(NOW, "error", "a")]


async def test_commands_change_what_they_name(start, source, tmp_path):
    async with start(source) as driver:
        for line in ("theme ansi-dark", "filter vllm", f"screenshot {tmp_path / 'x.svg'}", "cp research"):
            await driver.app.action_command(line)
            await driver.settle()
        assert driver.app.theme == "ansi-dark"
        assert source.watched == ["", "research"]
        assert (tmp_path / "x.svg").read_text().startswith("<svg")
        await driver.app.action_command("ns all")
        await driver.settle()
        assert driver.names == ["gemma-2-9b", "llama-3-8b", "mixtral-8x22b"]


async def test_read_only_has_no_form(start, source):
    async with start(source, read_only=True, command="prewarm") as driver:
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.notes == ["this session is read-only"]


class FakeContexts:
    def __init__(self, sources):
        self.sources = sources

    def names(self):
        return sorted(self.sources)

    async def open(self, context):
        if context not in self.sources:
            raise ClusterError(f"there is no context {context}")
        return self.sources[context]


async def test_another_context_is_another_cluster(start, source, fake_source, checkpoint_body):
    other = fake_source([checkpoint_body("elsewhere")])
    other.context, other.server = "east", "https://east.example"
    async with start(source, contexts=FakeContexts({"east": other}), command="nodes") as driver:
        await driver.press("colon", *"ctx ", "tab", "enter")
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.names == ["elsewhere"]
        assert driver.text("#banner-place-right") == "east  https://east.example"
        await driver.app.action_command("ctx west")
        await driver.settle()
        assert driver.notes == ["there is no context west"]
        assert driver.names == ["elsewhere"]
