"""Which checkpoints may go."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.ops.gc import Criteria, last_used, plan
from kubectl_chrek.ops.references import references

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HASH = "cfb060f4d0539cab"
DAY = 86400.0


def checkpoint(name, *, phase="Ready", model="m", namespace="default", days=30, restored=None, **metadata):
    created = (NOW - timedelta(days=days)).isoformat()
    status = {"phase": phase}
    if restored is not None:
        status["lastRestore"] = {"result": "restored", "at": (NOW - timedelta(days=restored)).isoformat()}
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "creationTimestamp": created} | metadata
    return read_checkpoint(
        {"metadata": metadata, "spec": {"identity": {"model": model, "backendFramework": "vllm"}}, "status": status}
    )


def names(found, criteria, referenced=None):
    made = plan(found, referenced or {}, criteria, NOW)
    return [each.name for each in made.delete], {each.name: each.reason for each in made.keep}


EVERYTHING = Criteria(everything=True)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (checkpoint("a", phase="Pending"), "still Pending"),
        (checkpoint("a", phase=""), "still Pending"),
        (checkpoint("a", phase="Creating"), "still Creating"),
        (checkpoint("a", annotations={"nvidia.com/chrek-pin": "true"}), "pinned"),
        (checkpoint("a", deletionTimestamp="2026-01-30T00:00:00Z"), "being deleted"),
    ],
)
def test_what_never_goes(found, reason):
    assert names([found], EVERYTHING) == ([], {"a": reason})
    assert names([found], Criteria(names=("a",))) == ([], {"a": reason})


def test_what_is_referenced_never_goes():
    assert names([checkpoint("a")], EVERYTHING, {"default/a": ("dgd/x/y",)}) == ([], {"a": "referenced"})


def test_ages_count_from_the_last_use():
    found = [checkpoint("idle"), checkpoint("used", restored=2), checkpoint("new", days=3), checkpoint("edge", days=14)]
    made = plan(found, {}, Criteria(older_than=14 * DAY), NOW)
    assert [(each.name, each.reason) for each in made.delete] == [("edge", "unused for 14d"), ("idle", "unused for 30d")]
    assert last_used(found[1]) == NOW - timedelta(days=2)


def test_criteria_narrow_each_other():
    found = [checkpoint("a", phase="Failed"), checkpoint("b", phase="Failed", days=1), checkpoint("c")]
    assert names(found, Criteria(failed=True)) == (["a", "b"], {})
    assert names(found, Criteria(failed=True, older_than=7 * DAY)) == (["a"], {})
    assert names(found, Criteria(names=("b", "c"), failed=True)) == (["b"], {})


def test_the_latest_of_each_model_and_namespace_are_spared():
    found = [
        checkpoint("m1", restored=1),
        checkpoint("m2", days=5),
        checkpoint("m3", days=9),
        checkpoint("n1", model="n", days=40),
        checkpoint("t1", namespace="team", days=40),
        checkpoint("broken", phase="Failed", days=1),
    ]
    assert names(found, Criteria(keep_last=1)) == (
        ["m2", "m3"],
        {"m1": "among the latest", "n1": "among the latest", "t1": "among the latest"},
    )
    assert names(found, Criteria(keep_last=2, older_than=7 * DAY))[0] == ["m3"]
    assert names(found, Criteria(keep_last=0))[0] == ["m1", "m2", "m3", "n1", "t1"]


PHASES = st.sampled_from(["Ready", "Failed", "Creating", "Pending", ""])
CRITERIA = st.builds(
    Criteria,
    names=st.sets(st.sampled_from("abcd")).map(tuple),
    older_than=st.none() | st.floats(0, 60 * DAY),
    failed=st.booleans(),
    keep_last=st.none() | st.integers(0, 3),
    everything=st.booleans(),
)


@given(st.lists(st.tuples(PHASES, st.integers(0, 60), st.booleans(), st.booleans(), st.booleans()), max_size=4), CRITERIA)
def test_no_criteria_get_at_what_is_protected(states, criteria):
    found, referenced = [], {}
    for name, (phase, days, pinned, used, deleting) in zip("abcd", states, strict=False):
        metadata = {"annotations": {"nvidia.com/chrek-pin": "true"}} if pinned else {}
        metadata |= {"deletionTimestamp": "2026-01-30T00:00:00Z"} if deleting else {}
        found.append(checkpoint(name, phase=phase, days=days, **metadata))
        referenced |= {f"default/{name}": ("pod/p",)} if used else {}
    made = plan(found, referenced, criteria, NOW)
    for each in made.delete:
        assert each.checkpoint.phase in ("Ready", "Failed")
        assert not each.checkpoint.pinned
        assert not each.referenced_by
        assert each.checkpoint.metadata.deletion_timestamp is None
        assert not criteria.names or each.name in criteria.names
    assert not {each.name for each in made.delete} & {each.name for each in made.keep}


def graph(namespace="default", **blocks):
    services = {name: {"checkpoint": block} for name, block in blocks.items()}
    return {"metadata": {"name": "llm", "namespace": namespace}, "spec": {"services": services}}


def pod(namespace="default", phase="Running", **labels):
    labels = {f"nvidia.com/checkpoint-{key}": value for key, value in labels.items()}
    return {"metadata": {"name": "p", "namespace": namespace, "labels": labels}, "status": {"phase": phase}}


IDENTITY = {"model": "m", "framework": "vllm"}


@pytest.mark.parametrize(
    ("graphs", "pods", "users"),
    [
        ([graph(W={"enabled": True, "checkpointRef": "a"})], [], ("dgd/llm/W",)),
        (
            [graph(W={"enabled": True, "identity": IDENTITY}, V={"enabled": True, "checkpointRef": "a"})],
            [],
            ("dgd/llm/V", "dgd/llm/W"),
        ),
        ([graph(W={"enabled": True, "mode": "nonsense", "identity": IDENTITY})], [], ("dgd/llm/W",)),
        ([graph(W={"enabled": False, "checkpointRef": "a"})], [], ()),
        ([graph(W={"enabled": True, "checkpointRef": "b", "identity": IDENTITY})], [], ()),
        ([graph(namespace="team", W={"enabled": True, "checkpointRef": "a"})], [], ()),
        ([graph(W={"enabled": True, "identity": {"model": "m"}}, V="odd")], [], ()),
        ([{"metadata": {"name": "x"}, "spec": None}], [], ()),
        ([], [pod(name="a")], ("pod/p",)),
        ([], [pod(hash=HASH)], ("pod/p",)),
        ([], [pod(name="b", hash=HASH)], ()),
        ([], [pod(name="a", phase="Pending")], ("pod/p",)),
        ([], [pod(name="a", phase="Succeeded"), pod(name="a", phase="Failed")], ()),
        ([], [pod(namespace="team", name="a")], ()),
        ([], [{"metadata": {"name": "plain"}}], ()),
    ],
)
def test_who_refers_to_it(graphs, pods, users):
    found = checkpoint("a")
    assert found.hash == HASH
    assert references([found], graphs, pods).get("default/a", ()) == users
