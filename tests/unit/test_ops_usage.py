"""What `df` tells of stores: whose figures, and when none."""

from datetime import UTC, datetime, timedelta

import pytest

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cli.sizes import store_notes
from kubectl_chrek.ops.usage import report

CAPTURED = datetime(2026, 1, 29, 10, 5, tzinfo=UTC)


def checkpoint(node="a"):
    artifact = {"generation": "g-1", "bytes": 5 << 30, "node": node, "capturedAt": CAPTURED.isoformat()}
    return read_checkpoint({
        "metadata": {"name": "cp", "namespace": "ns", "uid": "u"},
        "spec": {"identity": {"model": "m", "backendFramework": "vllm"}},
        "status": {"phase": "Ready", "artifact": artifact},
    })  # fmt: skip


def node(name="a", location="/checkpoints", seconds=None, **store):
    room = {"type": "directory", "location": location, "freeBytes": 3 << 30, "totalBytes": 10 << 30}
    measured = {} if seconds is None else {"measuredAt": (CAPTURED + timedelta(seconds=seconds)).isoformat()}
    return read_node({"metadata": {"name": name}, "status": {"store": room | measured | store}})


def told(*nodes, of="a"):
    return [note.partition(": ")[2].removesuffix("3Gi of 10Gi free") for note in store_notes(report([checkpoint(of)], {}, nodes))]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-0.000001, "<unknown> stored, "),
        (0, "0 stored, 0 logical, "),
        (None, "0 stored, 0 logical, "),
    ],
    ids=["before the capture", "after it", "an agent that does not say"],
)
def test_what_was_added_up_before_the_newest_capture_is_not_told(seconds, expected):
    sizes = {"storedBytes": 0, "logicalBytes": 0, "artifacts": 0}
    assert told(node(seconds=seconds, **sizes)) == [expected]
    [store] = report([checkpoint()], {}, [node(seconds=seconds, **sizes)]).stores
    assert (store.free_bytes, store.artifacts) == (3 << 30, None if "unknown" in expected else 0)


def test_a_capture_into_another_store_says_nothing_of_this_one():
    here = node("a", seconds=-60, storedBytes=1 << 30)
    there = node("b", "/elsewhere", seconds=60, storedBytes=2 << 30)
    assert told(here, there, of="b") == ["1Gi stored, ", "2Gi stored, "]
    assert told(here, there, of="gone") == ["1Gi stored, ", "2Gi stored, "]


@pytest.mark.parametrize("names", ["abc", "cba", "bac"])
def test_of_several_nodes_the_newest_figures_count(names):
    """Also those of an agent that has just been started anew, or has not said anything yet, are no newer."""
    old, new, never = names
    nodes = [node(old, seconds=1, storedBytes=1 << 30), node(new, seconds=1.5, storedBytes=2 << 30), node(never)]
    assert told(*sorted(nodes, key=lambda each: each.metadata.name)) == ["2Gi stored, "]


def test_what_nobody_has_counted_is_not_known():
    assert told(node()) == ["<unknown> stored, "]
