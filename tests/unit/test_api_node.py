"""ChrekNode as readers see it."""

from datetime import UTC, datetime, timedelta

from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.node import STALE_SECONDS, read_node

NOW = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)
BODY = {
    "metadata": {"name": "node-1"},
    "status": {
        "agent": {"version": "0.1.0", "heartbeatAt": "2026-01-29T10:05:00Z"},
        "platform": {"architecture": "x86_64", "gpus": [{"model": "NVIDIA H200", "memoryBytes": 5}]},
        "store": {"freeBytes": 7, "artifacts": 2},
        "operations": [{"kind": "capture", "bytesDone": 3}],
        "checks": [{"name": "criu", "verdict": "ok"}, {"name": "store", "verdict": "warn", "message": "full", "fix": "gc"}],
    },
}


def test_a_node_is_read():
    node = read_node(BODY)
    assert (node.status.store.free_bytes, node.status.store.stored_bytes, node.status.store.artifacts) == (7, None, 2)
    assert node.status.operations[0].bytes_done == 3
    assert node.status.platform.gpus[0].memory_bytes == 5
    assert node.verdict == "warn"


def test_a_silent_agent_is_taken_for_gone():
    assert read_node(BODY).alive(NOW + timedelta(seconds=STALE_SECONDS - 1))
    assert not read_node(BODY).alive(NOW + timedelta(seconds=STALE_SECONDS))
    assert not read_node({"metadata": {"name": "n"}}).alive(NOW)
    assert read_node({"metadata": {"name": "n"}}).verdict == "ok"


def test_its_definition_is_installed_with_the_others():
    assert "chreknodes.nvidia.com" in [definition["metadata"]["name"] for definition in load_crds()]
