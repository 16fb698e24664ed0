"""Failures of a connection, as a person reads them."""

import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from kubernetes.aio.client.configuration import Configuration

from kubectl_chrek.api.errors import ClusterError, UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.errors import error_from_status, unreachable
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS

KEY = ConnectionKey("h", 1, True, True, None, None, None)
UNTRUSTED = ssl.SSLCertVerificationError("[SSL] long and technical")
UNTRUSTED.verify_message = "self-signed certificate"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "Connect call failed ('h', 1)")), "connection refused"),
        (aiohttp.ClientConnectorCertificateError(KEY, UNTRUSTED), "self-signed certificate"),
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
    ],
)
def test_an_unreachable_server_says_why_in_plain_words(error, detail):
    assert str(unreachable("https://h:1", error)) == f"Unable to connect to the server https://h:1: {detail}"


def test_refusals_have_hints_of_their_own():
    assert "expired" in error_from_status(401, b"{}").hint
    assert "auth can-i" in error_from_status(403, b"{}").hint


@pytest.mark.parametrize("name", ["../secrets/x", "a/b", "..", ".", "a%2fb"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    for names in ((name, "x"), ("default", name)):
        with pytest.raises(UsageError, match="is no name of a DynamoCheckpoint or namespace"):
            CHECKPOINTS.path(*names)
    assert CHECKPOINTS.path("default", "v1.2..3").endswith("/namespaces/default/dynamocheckpoints/v1.2..3")


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        (None, None, "config is not there, or is empty"),
        ("a: [", None, "config is not valid YAML"),
        ("{clusters: [], users: [], contexts: [{name: a, context: {}}], current-context: a}", "b", "there is no context b in "),
    ],
)
async def test_a_kubeconfig_that_is_off_is_named(tmp_path, monkeypatch, text, context, message):
    config = tmp_path / "config"
    if text is not None:
        config.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(config))
    with pytest.raises(ClusterError, match=message):
        async with Cluster.connect(context=context):
            pass


async def test_neither_a_kubeconfig_nor_a_pod(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ClusterError, match="and this is no pod"):
        async with Cluster.connect():
            pass


@asynccontextmanager
async def answering(*answers):
    """A connection to a server that gives these answers, each a status and Retry-After, and the methods it was asked with."""
    left, asked = list(answers), []

    async def handle(request):
        asked.append((request.method, await request.text()))
        status, after = left.pop(0)
        return web.json_response({"kind": "X", "message": "busy"}, status=status, headers={"Retry-After": after} if after else {})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        cluster = Cluster(configuration)
        try:
            yield cluster, asked
        finally:
            await cluster._rest.close()
    finally:
        await runner.cleanup()


async def test_a_server_that_asks_for_patience_is_asked_again():
    # A real one says so of a kind whose definition it has just been given.
    async with answering((429, "0"), (503, "0"), (200, "")) as (cluster, asked):
        assert (await cluster.create(CONFIG_MAPS, {"a": 1}))["kind"] == "X"
        assert asked == [("POST", '{"a": 1}')] * 3


@pytest.mark.parametrize("answer", [(429, ""), (500, ""), (503, "3600"), (429, "Wed, 21 Oct 2026 07:28:00 GMT"), (403, "0")])
async def test_patience_has_an_end(answer):
    async with answering(answer) as (cluster, asked):
        with pytest.raises(ClusterError, match="busy") as error:
            await cluster.get(CONFIG_MAPS, "x")
        assert error.value.status == answer[0]
        assert len(asked) == 1
