"""The first frame is drawn before there is a connection."""

import asyncio

import pytest

from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.tui.running import may_ask
from kubectl_chrek.tui.source import Opened


@pytest.fixture
def connection(source):
    """A connection that is made when the test says so, or fails."""

    class Connection:
        def __init__(self):
            self.answer = asyncio.Event()
            self.error = None

        async def __call__(self):
            await self.answer.wait()
            if self.error:
                raise self.error
            return Opened(source, None, "research")

    return Connection()


async def until(pilot, condition):
    while not condition():
        await pilot.pause()


async def test_the_list_is_there_before_the_connection_and_fills_with_it(make_app, connection, settled):
    app = make_app(connection)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "Loading" in app.screen.query_one("VirtualTable").as_text()
        assert "loading" in str(app.screen.query_one("#banner-facts-right").content)
        connection.answer.set()
        await until(pilot, lambda: app.session.namespace == "research")
        await settled(pilot)
        assert [row.name for row in app.screen.query_one("VirtualTable").rows] == ["qwen-72b"]


async def test_another_screen_waits_for_the_connection(make_app, connection, settled):
    app = make_app(connection, command="graphs")
    async with app.run_test(size=(120, 40)) as pilot:
        await app.action_command("nodes")
        await pilot.pause()
        early = app.commander
        assert not app.screen.query_one("VirtualTable").rows
        connection.answer.set()
        await until(pilot, lambda: app.screen.crumbs() == ["graphs"] and app.screen.query_one("VirtualTable").rows)
        assert app.commander is not early


async def test_without_a_connection_the_program_ends_and_keeps_why(make_app, connection, outage):
    connection.error = outage
    app = make_app(connection)
    async with app.run_test() as pilot:
        connection.answer.set()
        await until(pilot, lambda: app.failure is not None)
    assert app.failure is outage


async def test_what_has_been_asked_is_answered_by_the_connection(make_app, connection, source):
    app = make_app(connection)
    async with app.run_test() as pilot:
        awaited = app.session.source
        names = asyncio.create_task(awaited.namespaces())
        node = asyncio.create_task(anext(awaited.watch_nodes()))
        await pilot.pause()
        assert not names.done()
        assert not node.done()
        connection.answer.set()
        assert await names == ["default", "research"]
        assert (await node).object in source.nodes


@pytest.mark.parametrize(("user", "asks"), [("exec: {command: login}", True), ("token: t", False)])
def test_a_program_for_credentials_may_ask_on_the_terminal(tmp_path, monkeypatch, user, asks):
    path = tmp_path / "config"
    path.write_text(f"users: [{{name: u, user: {{{user}}}}}]")
    assert may_ask(ConnectionOptions(kubeconfig=str(path))) is asks
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{path}")
    assert may_ask(ConnectionOptions()) is asks
