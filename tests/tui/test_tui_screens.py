"""What every other screen does while the cluster moves."""

import pytest

from kubectl_chrek.tui.feed import Outage
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.modals import ConfirmDelete


@pytest.mark.parametrize("command", ["nodes", "graphs", "storage", "gc", "doctor"])
async def test_empty_screen_says_why(start, fake_source, command):
    async with start(fake_source(), command=command) as driver:
        assert driver.table.placeholder == driver.app.screen.EMPTY


@pytest.mark.parametrize(("command", "method"), [("storage", "usage"), ("gc", "plan"), ("doctor", "findings")])
async def test_what_cannot_be_asked_says_why_and_is_asked_again(start, source, outage, pause, command, method):
    answer = getattr(source, method)

    async def refuse(*_):
        raise outage

    setattr(source, method, refuse)
    async with start(source, command=command) as driver:
        assert driver.table.placeholder == str(outage)
        assert str(outage) in [note.message for note in driver.app.session.notes]
        setattr(source, method, answer)
        await pause.pass_time()
        await driver.settle()
        assert driver.table.rows
        setattr(source, method, refuse)
        await pause.pass_time()
        await driver.settle()
        assert driver.table.rows
        assert driver.text("#banner-facts-right").startswith("▲ stale")


@pytest.mark.parametrize(("command", "kind"), [("nodes", "nodes"), ("graphs", "graphs"), ("graphs", "workers")])
async def test_a_broken_watch_keeps_the_rows(start, source, outage, pause, command, kind):
    async with start(source, command=command) as driver:
        before = driver.names
        source.fail(outage, watch=kind)
        await driver.settle()
        assert driver.names == before
        assert isinstance(driver.app.screen.health()[1], Outage)
        assert str(outage) in driver.text("#about-text")


async def test_nodes_follow_what_agents_say(start, source, node_body):
    async with start(source, command="nodes") as driver:
        source.send("MODIFIED", node_body("gpu-a-01", driver="595.1"), watch="nodes")
        source.send("DELETED", source.nodes[1], watch="nodes")
        await driver.settle()
        assert driver.names == ["gpu-a-01", "gpu-b-01"]
        assert "595.1" in driver.table.render_line(1).text
        assert "capture" not in driver.text("#about-text")


async def test_a_pod_leads_to_its_checkpoint_and_back(start, source):
    async with start(source, command="graphs") as driver:
        await driver.press("slash", *"decode-0", "enter", "enter")
        assert isinstance(driver.app.screen, DetailScreen)
        assert "graphs ▸ default ▸ llama-3-8b" in driver.text("#banner-place")
        await driver.press("escape", "escape", "escape")
        assert driver.text("#banner-place").endswith("checkpoints")


async def test_a_checkpoint_that_is_not_there_is_told(start, source):
    del source.checkpoints[0]
    async with start(source, command="graphs") as driver:
        await driver.press("slash", *"decode-1", "enter", "enter")
        assert driver.notes == ["there is no checkpoint llama-3-8b in default"]


async def test_labels_filter_as_kubectl_does(start, source, rich_samples):
    async with start(source) as driver:
        found = {}
        for selector in ("team=search", "team!=search", "team", "!team", "team=x", "team,!x"):
            await driver.app.action_command(f"filter -l {selector}")
            await driver.settle()
            found[selector] = len(driver.names)
        assert found == {"team=search": 1, "team!=search": 4, "team": 1, "!team": 4, "team=x": 0, "team,!x": 1}


async def test_the_plan_goes_as_it_was_shown_less_what_was_taken_out(start, source):
    async with start(source, command="gc --all") as driver:
        assert driver.names == ["gemma-2-9b", "qwen-72b", "deepseek-r1", "llama-3-8b", "mixtral-8x22b"][: len(driver.names)]
        await driver.press("space", "enter")
        assert isinstance(driver.app.screen, ConfirmDelete)
        assert driver.text("#delete-names") == "research/qwen-72b"
        await driver.press("right", "enter")
        assert [what[:2] for what in source.done] == [("mark", "qwen-72b")]
        assert driver.notes == ["1 checkpoint deleted in 60m; u undeletes"]


async def test_what_came_into_use_while_one_was_asked_is_kept(start, source, pod_body):
    async with start(source, command="gc gemma-2-9b") as driver:
        await driver.press("enter")
        pod = pod_body("new")
        pod["metadata"]["labels"]["nvidia.com/checkpoint-name"] = "gemma-2-9b"
        source.workers.append(pod)
        await driver.press("right", "enter")
        assert source.done == []
        assert driver.notes == ["gemma-2-9b is kept: it has changed since the question was asked"]


async def test_a_plan_that_cannot_be_undone_takes_typing(start, source):
    async with start(source, command="gc gemma-2-9b") as driver:
        await driver.press("enter", "tab", "tab", "1", "enter", "enter")
        assert [name for _, name, _ in source.deleted] == ["gemma-2-9b"]


async def test_rules_are_turned_on_and_off(start, source):
    async with start(source, command="gc --failed") as driver:
        assert "gc --failed " in driver.text("#banner-facts")
        await driver.press("1", "3", "4", "2")
        assert "gc --unreferenced --orphans --incompatible " in driver.text("#banner-facts")
        await driver.press("1", "3", "4")
        assert driver.table.rows == []


async def test_a_namespace_is_for_all_screens(start, source):
    async with start(source, command="storage") as driver:
        assert len(driver.names) == 2
        await driver.app.action_command("ns research")
        await driver.settle()
        assert driver.names == []
        assert driver.text("#banner-facts").startswith("research")
        await driver.press("0")
        assert len(driver.names) == 2
