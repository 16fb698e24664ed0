"""Which checkpoints may go: what retention decides from what references gather."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.node import read_node
from kubectl_chrek.ops.references import gather, references
from kubectl_chrek.ops.retention import Facts, Policy, delete_after, in_use, last_used, plan, protection

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HASH = "cfb060f4d0539cab"
DAY = 86400.0


def checkpoint(
    name,
    *,
    phase="Ready",
    model="m",
    namespace="default",
    days=30,
    restored=None,
    size=0,
    unique=None,
    artifact=True,
    compatibility=None,
    **metadata,
):
    created = (NOW - timedelta(days=days)).isoformat()
    status = {"phase": phase}
    if artifact:
        status["artifact"] = {"generation": "g", "bytes": size, "uniqueBytes": unique, "compatibility": compatibility or {}}
    if restored is not None:
        status["lastRestore"] = {"result": "restored", "at": (NOW - timedelta(days=restored)).isoformat()}
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "creationTimestamp": created} | metadata
    return read_checkpoint(
        {"metadata": metadata, "spec": {"identity": {"model": model, "backendFramework": "vllm"}}, "status": status}
    )


def names(found, policy, referenced=None):
    made = plan(found, Facts(referenced=referenced or {}), policy, NOW)
    return [each.name for each in made.evict], {each.name: each.reason for each in made.keep}


EVERYTHING = Policy(everything=True)


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
    assert names([found], Policy(names=("a",))) == ([], {"a": reason})


def test_what_is_referenced_never_goes():
    assert names([checkpoint("a")], EVERYTHING, {"default/a": ("dgd/x/y",)}) == ([], {"a": "referenced"})


def test_ages_count_from_the_last_use():
    found = [checkpoint("idle"), checkpoint("used", restored=2), checkpoint("new", days=3), checkpoint("edge", days=14)]
    made = plan(found, Facts(), Policy(older_than=14 * DAY), NOW)
    assert [(each.name, each.reason) for each in made.evict] == [("edge", "unused for 14d"), ("idle", "unused for 30d")]
    assert last_used(found[1]) == NOW - timedelta(days=2)


def test_policy_narrow_each_other():
    found = [checkpoint("a", phase="Failed"), checkpoint("b", phase="Failed", days=1), checkpoint("c")]
    assert names(found, Policy(failed=True)) == (["a", "b"], {})
    assert names(found, Policy(failed=True, older_than=7 * DAY)) == (["a"], {})
    assert names(found, Policy(names=("b", "c"), failed=True)) == (["b"], {})


def test_the_latest_of_each_model_and_namespace_are_spared():
    found = [
        checkpoint("m1", restored=1),
        checkpoint("m2", days=5),
        checkpoint("m3", days=9),
        checkpoint("n1", model="n", days=40),
        checkpoint("t1", namespace="team", days=40),
        checkpoint("broken", phase="Failed", days=1),
    ]
    assert names(found, Policy(keep_last=1)) == (
        ["m2", "m3"],
        {"m1": "among the latest", "n1": "among the latest", "t1": "among the latest"},
    )
    assert names(found, Policy(keep_last=2, older_than=7 * DAY))[0] == ["m3"]
    assert names(found, Policy(keep_last=0))[0] == ["m1", "m2", "m3", "n1", "t1"]


PHASES = st.sampled_from(["Ready", "Failed", "Creating", "Pending", ""])
SIZES = st.none() | st.integers(0, 40)
POLICIES = st.builds(
    Policy,
    names=st.sets(st.sampled_from("abcde")).map(tuple),
    failed=st.booleans(),
    orphans=st.booleans(),
    incompatible=st.booleans(),
    unreferenced=st.booleans(),
    everything=st.booleans(),
    max_bytes=SIZES,
    low_bytes=SIZES,
    older_than=st.none() | st.floats(0, 60 * DAY),
    keep_last=st.none() | st.integers(0, 3),
    keep_within=st.none() | st.floats(0, 60 * DAY),
)
MARKS = st.sets(st.sampled_from(["pinned", "referenced", "leased", "orphaned", "incompatible", "marked", "deleting"]))
STATES = st.lists(st.tuples(PHASES, st.integers(0, 60), st.integers(0, 20), MARKS), max_size=5)


def fleet(states):
    found, facts = [], {"referenced": {}, "leased": {}, "orphaned": {}, "incompatible": {}}
    for name, (phase, days, size, marks) in zip("abcde", states, strict=False):
        annotations = {"nvidia.com/chrek-pin": "true"} if "pinned" in marks else {}
        annotations |= {"nvidia.com/chrek-delete-after": "2026-01-31T01:00:00Z"} if "marked" in marks else {}
        metadata = {"deletionTimestamp": "2026-01-30T00:00:00Z"} if "deleting" in marks else {}
        found.append(checkpoint(name, phase=phase, days=days, size=size, annotations=annotations, **metadata))
        for fact in facts.keys() & marks:
            facts[fact][f"default/{name}"] = ("pod/p",) if fact == "referenced" else "somebody"
    return found, Facts(**facts)


@settings(max_examples=400, deadline=None)
@given(STATES, POLICIES)
def test_no_policy_gets_at_what_is_protected(states, policy):
    found, facts = fleet(states)
    made = plan(found, facts, policy, NOW)
    for each in made.evict:
        assert each.checkpoint.phase in ("Ready", "Failed")
        assert not each.checkpoint.pinned
        assert each.uid not in facts.referenced
        assert each.uid not in facts.leased
        assert each.checkpoint.metadata.deletion_timestamp is None
        assert delete_after(each.checkpoint) is None
        assert protection(each.checkpoint, facts, NOW) == in_use(each.checkpoint, facts) == ""
        assert not policy.names or each.name in policy.names
        assert each.reason
    assert not {each.name for each in made.evict} & {each.name for each in made.keep}
    assert plan(list(reversed(found)), facts, policy, NOW) == made


@settings(max_examples=300, deadline=None)
@given(STATES, POLICIES.filter(lambda policy: policy.rules), st.integers(0, 3), st.floats(0, 60 * DAY))
def test_what_narrows_never_makes_more_go(states, policy, count, seconds):
    found, facts = fleet(states)
    evicted = set(evicted_names(found, facts, policy))
    if policy.max_bytes is None:
        assert evicted >= set(evicted_names(found, facts, replace(policy, names=("a", "b")))) or policy.names
        assert evicted >= set(evicted_names(found, facts, replace(policy, keep_within=max(seconds, policy.keep_within or 0))))
        assert evicted >= set(evicted_names(found, facts, replace(policy, keep_last=max(count, policy.keep_last or 0))))
    assert set(evicted_names(found, facts, replace(policy, failed=True))) >= {name for name in evicted if policy.max_bytes is None}


def evicted_names(found, facts, policy):
    return [each.name for each in plan(found, facts, policy, NOW).evict]


def test_the_limit_takes_what_was_used_longest_ago():
    found = [checkpoint(name, days=days, size=10) for name, days in (("a", 1), ("b", 3), ("c", 2), ("d", 9))]
    facts = Facts(referenced={"default/d": ("pod/p",)})
    made = plan(found, facts, Policy(max_bytes=30), NOW)
    assert [(each.name, each.reason) for each in made.evict] == [("b", "over 30")]
    assert [(each.name, each.reason) for each in made.keep] == [("d", "referenced")]
    assert evicted_names(found, facts, Policy(max_bytes=40)) == []
    assert evicted_names(found, facts, Policy(max_bytes=30, low_bytes=15)) == ["a", "b", "c"]
    assert evicted_names(found, facts, Policy(max_bytes=30, low_bytes=15, keep_last=1)) == ["b", "c"]
    assert evicted_names(found, facts, Policy(max_bytes=30, keep_within=5 * DAY)) == []
    assert made.bytes == 10


def test_unique_bytes_are_what_returns():
    found = [checkpoint("a", size=10, unique=4), checkpoint("b", size=10)]
    made = plan(found, Facts(), Policy(everything=True), NOW)
    assert ([each.bytes for each in made.evict], made.bytes) == ([4, 10], 14)
    assert (
        made.id == plan(found, Facts(), Policy(unreferenced=True), NOW).id != plan(found[:1], Facts(), Policy(failed=True), NOW).id
    )


def test_rules_add_up():
    found = [checkpoint("a", phase="Failed"), checkpoint("b"), checkpoint("c"), checkpoint("d")]
    facts = Facts(orphaned={"default/b": "graph x is gone"}, incompatible={"default/c": "no such driver"})
    made = plan(found, facts, Policy(failed=True, orphans=True, incompatible=True), NOW)
    assert [(each.name, each.reason) for each in made.evict] == [("a", "Failed"), ("b", "graph x is gone"), ("c", "no such driver")]
    assert evicted_names(found, facts, Policy(unreferenced=True)) == ["b", "c", "d"]


def lease(name, *, renewed=NOW, holder="agent-a"):
    spec = {"holderIdentity": holder, "renewTime": f"{renewed:%Y-%m-%dT%H:%M:%S.%fZ}", "leaseDurationSeconds": 30}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def node(name="n", *, heard=NOW, operations=(), **platform):
    status = {"agent": {"heartbeatAt": heard.isoformat()}, "operations": list(operations), "platform": platform}
    return read_node({"metadata": {"name": name}, "status": status})


def gathered(found, **given):
    nothing = {"graphs": [], "pods": [], "leases": [], "nodes": []}
    return gather(found, **(nothing | given), now=NOW)


def test_who_is_at_work():
    found = [checkpoint("a")]
    work = {"kind": "restore", "namespace": "default", "checkpoint": "a"}
    assert gathered(found, leases=[lease(f"chrek-{HASH}")]).leased == {"default/a": "agent-a"}
    assert gathered(found, leases=[lease(f"chrek-{HASH}", renewed=NOW - timedelta(minutes=1))]).leased == {}
    assert gathered(found, leases=[lease(f"chrek-{HASH}", holder="")]).leased == {}
    assert gathered(found, nodes=[node(operations=[work])]).leased == {"default/a": "restore on n"}
    assert gathered(found, nodes=[node(operations=[work | {"namespace": "team"}])]).leased == {}
    assert gathered(found, nodes=[node(operations=[work], heard=NOW - timedelta(hours=1))]).leased == {}


def test_what_belongs_to_nobody():
    label = {"nvidia.com/dynamo-graph-deployment-name": "llm"}
    old, new = checkpoint("old", labels=label), checkpoint("new", labels=label, days=0)
    empty = checkpoint("empty", days=0, artifact=False)
    assert gathered([old, new, empty]).orphaned == {"default/old": "graph llm is gone", "default/empty": "without an artifact"}
    assert gathered([old], graphs=[graph()]).orphaned == {}


def test_what_no_node_can_restore():
    found = [checkpoint("a", compatibility={"kernel": "6.12.0"})]
    assert gathered(found, nodes=[node(kernel="6.1.0"), node("m", kernel="6.12.1")]).incompatible == {}
    assert list(gathered(found, nodes=[node(kernel="6.1.0")]).incompatible) == ["default/a"]
    assert gathered(found, nodes=[]).incompatible == {}
    assert gathered(found, nodes=[node(kernel="6.1.0", heard=NOW - timedelta(days=1))]).incompatible == {}


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
