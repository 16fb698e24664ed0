"""Failures of a connection, as a person reads them."""

import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.errors import error_from_status, unreachable

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
