"""`gc`: plan, question, deletion."""

import json
import re

import pytest
import yaml

from kubectl_chrek.api.errors import ClusterError, NotFoundError
from kubectl_chrek.cluster.resources import CHREK_NODES, GRAPHS, LEASES, PODS

NAME = "dynamocheckpoint.nvidia.com/"
PLAN = "01e53e5c6b"


@pytest.fixture
def store(fake):
    fake.checkpoint(
        "old",
        phase="Ready",
        artifact={"generation": "g", "bytes": 3 << 30, "capturedAt": "2026-01-01T12:00:00Z", "coldStartSeconds": 184.2},
    )
    fake.checkpoint("used", phase="Ready", model="u", artifact={"generation": "g", "bytes": 1 << 30})
    fake.checkpoint("pinned", phase="Ready", model="p", metadata={"annotations": {"nvidia.com/chrek-pin": "true"}})
    fake.checkpoint("busy", phase="Creating", model="b")
    fake.checkpoint("broken", phase="Failed", model="x")
    for name in ("old", "used", "pinned", "busy", "broken"):
        fake.objects["dynamocheckpoints", "default", name]["metadata"]["creationTimestamp"] = "2026-01-01T11:00:00Z"
    fake.put(GRAPHS, "llm", spec={"services": {"Worker": {"checkpoint": {"enabled": True, "checkpointRef": "used"}}}})
    return fake


def deleted(fake):
    return [name for verb, _, name in fake.calls if verb == "delete"]


def marked(fake):
    return [name for verb, _, name in fake.calls if verb == "patch"]


def test_plan_then_deletion(chrek, store):
    result = chrek("gc", "--all", "--yes")
    assert (result.code, result.err) == (
        0,
        f"Plan {PLAN}: 2 checkpoints, 3Gi, 3m4s of cold starts to pay again.\n"
        "Until then `kubectl chrek undelete broken old` keeps them; their bytes return at the store's next sweep.\n",
    )
    assert result.out == (
        "NAME     REASON   SIZE        LAST-USED   REFERENCED-BY   COLD-START   AGE\n"
        "broken   Failed   <unknown>   30d         <none>          <unknown>    30d\n"
        "old      Ready    3Gi         30d         <none>          3m4s         30d\n"
        f"{NAME}broken deletes in 60m\n"
        f"{NAME}old deletes in 60m\n"
    )
    assert (marked(store), deleted(store)) == (["broken", "old"], [])
    mark = store.objects["dynamocheckpoints", "default", "old"]["metadata"]["annotations"]
    assert mark == {"nvidia.com/chrek-delete-after": "2026-01-31T13:00:00Z"}


def test_what_is_marked_already_is_kept(chrek, store):
    chrek("gc", "old", "--yes")
    result = chrek("gc", "old", "--yes", "--grace", "5m")
    assert (result.code, result.err.splitlines()[0]) == (6, f"{NAME}old is kept: deletes in 60m")
    assert marked(store) == ["old"]


def test_at_once(chrek, store):
    result = chrek("gc", "--all", "--yes", "--now")
    assert result.out.splitlines()[-1] == f"{NAME}old deleted"
    assert (marked(store), deleted(store)) == ([], ["broken", "old"])


def test_only_the_plan_that_was_shown_runs(chrek, store):
    shown = json.loads(chrek("gc", "--all", "--dry-run=client", "-o", "json").out)
    assert shown["id"] == PLAN
    store.put(PODS, "worker", metadata={"labels": {"nvidia.com/checkpoint-name": "old"}}, status={"phase": "Running"})
    result = chrek("gc", "--all", "--plan", PLAN)
    assert (result.code, marked(store)) == (1, [])
    assert result.err.startswith("error: the plan is ")
    del store.objects["pods", "default", "worker"]
    assert chrek("gc", "--all", "--plan", PLAN).code == 0
    assert marked(store) == ["broken", "old"]


def test_rules_and_limits(chrek, store):
    store.checkpoint("newer", phase="Ready", artifact={"generation": "g", "bytes": 2 << 30, "capturedAt": "2026-01-30T12:00:00Z"})
    assert rows(chrek("gc", "--max-bytes", "5Gi", "--dry-run=client")) == [["old", "over 5Gi"]]
    assert rows(chrek("gc", "--max-bytes", "7Gi", "--dry-run=client")) == []
    assert rows(chrek("gc", "--keep-last", "1", "--dry-run=client")) == [["old", "not among the latest 1"]]
    assert rows(chrek("gc", "--unreferenced", "--keep-within", "2d", "--dry-run=client")) == [["old", "unreferenced"]]
    assert rows(chrek("gc", "--failed", "--unreferenced", "--older-than", "7d", "--dry-run=client")) == [
        ["broken", "Failed"],
        ["old", "unreferenced"],
    ]


def test_what_is_leased_or_being_restored_is_kept(chrek, store):
    spec = {"holderIdentity": "agent-a", "renewTime": "2026-01-31T11:59:50.000000Z", "leaseDurationSeconds": 30}
    store.put(LEASES, "chrek-cfb060f4d0539cab", spec=spec)
    assert chrek("gc", "old", "--yes").err.startswith(f"{NAME}old is kept: in use by agent-a\n")
    del store.objects["leases", "default", "chrek-cfb060f4d0539cab"]
    operation = {"kind": "restore", "namespace": "default", "checkpoint": "old"}
    status = {"agent": {"heartbeatAt": "2026-01-31T11:59:50Z"}, "operations": [operation]}
    store.put(CHREK_NODES, "node-a", namespace="", status=status)
    assert chrek("gc", "old", "--yes").err.startswith(f"{NAME}old is kept: in use by restore on node-a\n")


def rows(result):
    lines = result.out.splitlines()[1:]
    return [re.split(r" {3,}", line)[:2] for line in lines if not line.startswith(NAME)]


def test_what_is_kept_is_told_on_request(chrek, store):
    assert chrek("gc", "--all", "--dry-run=client", "-v").err == (
        f"{NAME}busy is kept: still Creating\n{NAME}pinned is kept: pinned\n{NAME}used is kept: referenced by dgd/llm/Worker\n"
        f"Plan {PLAN}: 2 checkpoints, 3Gi, 3m4s of cold starts to pay again.\n"
    )


def test_who_refers_to_what_is_kept_for_another_reason(chrek, store):
    store.put(GRAPHS, "more", spec={"services": {"Worker": {"checkpoint": {"enabled": True, "checkpointRef": "busy"}}}})
    assert chrek("gc", "busy", "--yes").err.startswith(f"{NAME}busy is kept: still Creating, referenced by dgd/more/Worker\n")


@pytest.mark.parametrize(
    ("strategy", "suffix", "verb"), [("client", "dry run", ""), ("server", "server dry run", "patch (dry run)")]
)
def test_dry_runs_delete_nothing_and_do_not_ask(chrek, store, strategy, suffix, verb):
    result = chrek("gc", "--failed", f"--dry-run={strategy}")
    assert (result.code, result.out.splitlines()[-1]) == (0, f"{NAME}broken deletes in 60m ({suffix})")
    assert ("dynamocheckpoints", "default", "broken") in store.objects
    assert [call[0] for call in store.calls if call[0].startswith(("patch", "delete"))] == [verb] * bool(verb)


def test_nobody_to_ask(chrek, store, stdin):
    stdin(b"y\n")
    result = chrek("gc", "--all")
    assert result.code == 2
    assert result.err.splitlines()[1:] == [
        "error: nobody is there to ask, so nothing was deleted",
        f"hint: give --plan {PLAN} or --yes",
    ]
    assert marked(store) == []


@pytest.mark.parametrize(("answer", "gone"), [(b"y\n", ["broken", "old"]), (b"Yes\n", ["broken", "old"]), (b"\n", []), (b"", [])])
def test_the_question(chrek, store, stdin, monkeypatch, answer, gone):
    stdin(answer)
    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.interactive", lambda: True)
    result = chrek("gc", "--all")
    assert "Delete 2 checkpoints in 60m and free 3Gi? [y/N] " in result.err
    assert result.err.endswith("Nothing was deleted.\n") != bool(gone)
    assert (result.code, marked(store)) == (0, gone)


def test_what_came_into_use_while_the_question_stood_is_kept(chrek, store, monkeypatch):
    def confirm(question):
        store.put(PODS, "worker", metadata={"labels": {"nvidia.com/checkpoint-name": "old"}}, status={"phase": "Running"})
        return True

    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.interactive", lambda: True)
    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.confirm", confirm)
    result = chrek("gc", "--all")
    assert marked(store) == ["broken"]
    assert "warning: old is kept: it has changed since the question was asked\n" in result.err


def test_names(chrek, store):
    result = chrek("gc", "old", "used", "--yes")
    assert (result.code, marked(store)) == (6, ["old"])
    assert result.err.startswith(f"{NAME}used is kept: referenced by dgd/llm/Worker\n")
    alone = chrek("gc", "pinned", "--yes")
    assert (alone.code, alone.out) == (6, "")
    assert alone.err == f"{NAME}pinned is kept: pinned\nNothing to delete in default namespace.\n"


def test_a_name_that_is_not_there_deletes_nothing(chrek, store):
    result = chrek("gc", "old", "odl", "--yes")
    assert (result.code, result.out, deleted(store)) == (4, "", [])
    assert result.err == "error: odl: no such checkpoint in namespace default\nhint: nothing was deleted\n"


@pytest.mark.parametrize("plural", ["dynamocheckpoints", "dynamographdeployments", "pods", "leases", "chreknodes"])
def test_any_list_that_fails_ends_it(chrek, store, plural):
    store.failing[plural] = ClusterError("Error from server (Forbidden): no", status=403)
    assert chrek("gc", "--all", "--yes").code == 1
    assert (marked(store), deleted(store)) == ([], [])


def test_a_cluster_without_graphs_has_no_references(chrek, store):
    store.failing[GRAPHS.plural] = NotFoundError("Error from server (NotFound): no such kind")
    assert chrek("gc", "used", "--yes").out.splitlines()[-1] == f"{NAME}used deletes in 60m"


def test_a_checkpoint_that_was_replaced_is_not_deleted(chrek, store):
    for verb, words in (("patch", ()), ("delete", ("--now", "--wait=false"))):
        store.objects["dynamocheckpoints", "default", "broken"]["metadata"]["uid"] = "uid-5"
        original = getattr(store, verb)

        async def replaced(resource, name, *args, original=original, **options):
            if name == "broken":
                store.objects["dynamocheckpoints", "default", "broken"]["metadata"]["uid"] = "another"
            return await original(resource, name, *args, **options)

        setattr(store, verb, replaced)
        result = chrek("gc", "broken", "--yes", *words)
        assert result.code == 6
        assert "another object has its name by now" in result.err or "Conflict" in result.err
    assert ("dynamocheckpoints", "default", "broken") in store.objects


def test_it_waits_for_the_artifact(chrek, store):
    finalized = store.objects["dynamocheckpoints", "default", "old"]

    async def mark(resource, name, namespace=None, **options):
        store.calls.append(("delete", resource.plural, name))
        return finalized

    store.delete = mark
    store.changes = [("MODIFIED", finalized), ("DELETED", finalized), ClusterError("watched for too long")]
    assert chrek("gc", "old", "--yes", "--now").code == 0
    assert store.changes != []
    store.changes = [ClusterError("waited")]
    assert chrek("gc", "old", "--yes", "--now", "--wait=false").code == 0
    assert chrek("gc", "old", "--yes", "--now").code == 1


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_structured_output(chrek, store, form, load):
    found = load(chrek("gc", "old", "used", "--dry-run=client", "-o", form).out)
    assert found["dryRun"] == "client"
    assert found["bytes"] == 3 << 30
    assert found["evict"] == [
        {
            "namespace": "default",
            "name": "old",
            "uid": "uid-1",
            "hash": "cfb060f4d0539cab",
            "model": "m",
            "phase": "Ready",
            "reason": "named",
            "bytes": 3 << 30,
            "lastUsed": "2026-01-01T12:00:00Z",
            "created": "2026-01-01T11:00:00Z",
            "coldStartSeconds": 184.2,
            "referencedBy": [],
            "evicted": False,
        }
    ]
    assert [(each["name"], each["reason"], each["referencedBy"]) for each in found["keep"]] == [
        ("used", "referenced", ["dgd/llm/Worker"])
    ]


def test_names_only(chrek, store):
    assert chrek("gc", "--failed", "--yes", "-o", "name").out == f"{NAME}broken\n"


def test_all_namespaces(chrek, store):
    store.checkpoint("old", namespace="team", phase="Failed")
    result = chrek("gc", "-A", "--failed", "--yes")
    lines = result.out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["NAMESPACE", "NAME"], ["default", "broken"], ["team", "old"]]
    assert lines[3:] == [f"{NAME}broken -n default deletes in 60m", f"{NAME}old -n team deletes in 60m"]
    assert "`kubectl chrek undelete broken old -n NAMESPACE`" in result.err


def test_how_to_have_it_back_names_the_namespace(chrek, store):
    store.checkpoint("old", namespace="team", phase="Failed")
    assert "`kubectl chrek undelete old -n team`" in chrek("gc", "-n", "team", "--failed", "--yes").err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "error: say what may go"),
        (["--all", "--failed"], "error: --all cannot be combined with names or other criteria"),
        (["--all", "name"], "error: --all cannot be combined with names or other criteria"),
        (["--keep-last", "-1"], "error: --keep-last: must not be negative"),
        (["--keep-last", "1", "--failed"], "error: --keep-last counts Ready checkpoints"),
        (["--max-bytes", "much"], "error: invalid size 'much'"),
        (["--max-bytes", "1Gi", "--low-bytes", "2Gi"], "error: --low-bytes must not be above --max-bytes"),
        (["--older-than", "old"], "error: invalid duration 'old'"),
        (["--failed", "--dry-run=maybe"], "error: --dry-run: invalid value 'maybe'"),
        (["--failed", "-o", "wide"], "error: --output: unknown format 'wide'"),
    ],
)
def test_wrong_words(chrek, store, words, line):
    result = chrek("gc", "--yes", *words)
    assert (result.code, result.out, marked(store)) == (2, "", [])
    assert result.err.startswith(line)


def test_nothing_to_do(chrek, fake):
    result = chrek("gc", "--all")
    assert (result.code, result.out, result.err) == (0, "", "Nothing to delete in default namespace.\n")
    assert chrek("gc", "--failed", "-A").err == "Nothing to delete in any namespace.\n"


def test_structured_output_says_what_was_deleted(chrek, store):
    found = json.loads(chrek("gc", "old", "--yes", "-o", "json").out)
    assert [(each["name"], each["evicted"]) for each in found["evict"]] == [("old", True)]


def test_who_finds_nothing_to_delete_learns_that_something_must_stay(chrek, fake):
    for name in ("a", "b"):
        fake.checkpoint(name, phase="Ready", metadata={"annotations": {"nvidia.com/chrek-pin": "true"}})
    found = chrek("gc", "--all").err
    assert found == "Nothing to delete in default namespace; 2 checkpoints must stay, -v says why.\n"
    assert chrek("gc", "--all", "-v").err.splitlines() == [
        f"{NAME}a is kept: pinned",
        f"{NAME}b is kept: pinned",
        "Nothing to delete in default namespace.",
    ]
