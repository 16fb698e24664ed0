"""The source over an API server asks for exactly what the protocol says."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster import Event
from kubectl_chrek.cluster.resources import CHECKPOINTS, EVENTS, NAMESPACES, PODS
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.tui.clusters import ClusterSource
from kubectl_chrek.tui.running import run_tui

# Port 9 is "discard"; on loopback nothing listens there.
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: x
clusters: [{name: x, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: x, user: {}}]
contexts: [{name: x, context: {cluster: x, user: x}}]
"""


class RecordingCluster:
    """Answers from tables and keeps what it was asked."""

    server = "https://cluster.example:6443"

    def __init__(self):
        self.asked = []

    async def watch(self, resource, namespace=None, *, labels="", fields="", remember=None):
        self.asked.append((resource, namespace, labels, fields))
        yield Event("SYNCED", {})

    async def list(self, resource, namespace=None, *, labels="", fields=""):
        self.asked.append((resource, namespace, labels, fields))
        return [{"metadata": {"name": f"{fields}b"}}, {"metadata": {"name": f"{fields}a"}}]

    async def delete(self, resource, name, namespace=None, *, uid="", dry_run=False):
        self.asked.append((resource, name, namespace, uid))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def cluster():
    return RecordingCluster()


async def test_watches(cluster):
    source = ClusterSource(cluster)
    assert [event async for event in source.watch("")] == [Event("SYNCED", {})]
    assert [event async for event in source.watch_pods("ns", "llama")] == [Event("SYNCED", {})]
    assert cluster.asked == [(CHECKPOINTS, "", "", ""), (PODS, "ns", "nvidia.com/checkpoint-name=llama", "")]


async def test_namespaces_are_sorted(cluster):
    assert await ClusterSource(cluster).namespaces() == ["a", "b"]
    assert cluster.asked[0][0] is NAMESPACES


async def test_events_are_asked_for_by_each_name(cluster):
    events = await ClusterSource(cluster).events("ns", ["x", "y"])
    assert cluster.asked == [(EVENTS, "ns", "", "involvedObject.name=x"), (EVENTS, "ns", "", "involvedObject.name=y")]
    assert len(events) == 4


async def test_delete_names_the_very_object(cluster):
    await ClusterSource(cluster).delete("ns", "llama", "uid-1")
    assert cluster.asked == [(CHECKPOINTS, "llama", "ns", "uid-1")]


@pytest.mark.parametrize("user", ["{}", "{auth-provider: {name: exec}}"])
def test_a_cluster_that_cannot_be_reached_is_one_clear_line(tmp_path, user):
    """Also once the first frame has been drawn: then the terminal is given back first."""
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG.replace("user: {}", f"user: {user}"))
    ours, theirs = os.openpty()
    environment = os.environ | {"KUBECONFIG": str(config), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "kubectl_chrek", "tui"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True) as process:
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            said = b"".join(_until_the_end(terminal)).decode()
    assert process.returncode == 1
    assert ("Loading" in said) is (user == "{}")
    told = said.rpartition("\x1b[?1006l")[2].splitlines()
    assert told[0] == "Unable to connect to the server http://127.0.0.1:9: connection refused"


def _until_the_end(terminal):
    """What a program writes; a terminal that nobody holds any more is an error to its reader."""
    with suppress(OSError):
        while piece := terminal.read(1 << 16):
            yield piece


def test_without_a_terminal_one_clear_line(monkeypatch):
    monkeypatch.setattr("sys.__stdin__", None)
    with pytest.raises(UsageError, match="needs a terminal"):
        run_tui(ConnectionOptions(), read_only=False)
