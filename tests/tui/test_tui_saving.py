"""What can be carried out of the TUI, and what it can be asked to compare."""

import pytest

from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.diff import DiffScreen
from kubectl_chrek.tui.screens.modals import Choose

PLACES = {
    "a table, with the rows below the screen": ("G", ["NAMESPACE", "deepseek-r1", "qwen-72b"]),
    "a text, with the lines below the screen": ("j j enter 6", ["apiVersion: nvidia.com/v1alpha1", "coldStarts: 3"]),
    "a log": ("j j enter 5", ["[job/p] INFO loading weights"]),
    "what is under the cursor as well": ("colon d o c t o r enter", ["crd/chreknodes.nvidia.com", "helm upgrade"]),
}


@pytest.mark.parametrize("place", PLACES)
async def test_all_that_a_screen_tells_is_saved(start, source, tmp_path, place):
    keys, expected = PLACES[place]
    async with start(source, size=(80, 8)) as driver:
        await driver.press(*keys.split())
        await driver.app.action_command(f"save {tmp_path / 'x.txt'}")
        text = (tmp_path / "x.txt").read_text()
        assert [part for part in expected if part not in text] == []
        assert "Overview" not in text


async def test_a_file_that_cannot_be_written_says_so(start, source):
    async with start(source) as driver:
        await driver.app.action_command("save /nowhere/x.txt")
        await driver.settle()
        assert driver.notes == ["cannot write /nowhere/x.txt: No such file or directory"]


async def test_two_marked_checkpoints_are_compared_and_followed(start, source, checkpoint_body):
    async with start(source) as driver:
        await driver.press("j", "space", "space", "x")
        text = driver.text("#diff-text")
        assert "google/gemma-2-9b-it" in text
        assert "meta-llama/Llama-3.1-8B-Instruct" in text
        source.send("MODIFIED", checkpoint_body("gemma-2-9b", identity={"dtype": "float8"}))
        await driver.settle()
        assert "float8" in driver.text("#diff-text")
        source.send("DELETED", source.checkpoints[0])
        await driver.settle()
        assert isinstance(driver.app.screen, CheckpointsScreen)
        assert driver.notes == ["llama-3-8b was deleted"]


async def test_one_marked_is_compared_with_the_one_under_the_cursor(start, source):
    async with start(source) as driver:
        await driver.press("x")
        assert driver.notes == ["mark two checkpoints with space, then press x to compare them"]
        await driver.press("space", "x")
        assert isinstance(driver.app.screen, DiffScreen)
        assert "deepseek-r1 and gemma-2-9b" in driver.text("#banner-facts")


async def test_what_is_the_same_is_said_to_be(start, fake_source, checkpoint_body):
    async with start(fake_source([checkpoint_body("a"), checkpoint_body("b")])) as driver:
        await driver.press("space", "x")
        assert "Nothing differs" in driver.text("#diff-text")


async def test_a_theme_is_chosen_from_a_list(start, source):
    async with start(source) as driver:
        await driver.app.action_command("theme")
        await driver.settle()
        assert isinstance(driver.app.screen, Choose)
        await driver.press("home", "enter")
        assert driver.app.theme == sorted(driver.app.available_themes)[0]


async def test_a_policy_is_edited_from_the_plan(start, source):
    async with start(source, command="gc --failed") as driver:
        await driver.press("e", *"--orphans", "enter")
        assert "gc --failed --orphans " in driver.text("#banner-facts")
