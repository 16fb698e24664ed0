"""`gc`: plan, question, deletion."""

import json

import pytest
import yaml

from kubectl_chrek.api.errors import ClusterError, NotFoundError
from kubectl_chrek.cluster.resources import GRAPHS, PODS

NAME = "dynamocheckpoint.nvidia.com/"


@pytest.fixture
def store(fake):
    fake.checkpoint("old", phase="Ready", artifact={"generation": "g", "bytes": 3 << 30, "capturedAt": "2026-01-01T12:00:00Z"})
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


def test_plan_then_deletion(chrek, store):
    result = chrek("gc", "--all", "--yes")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "NAME     REASON   SIZE        LAST-USED   REFERENCED-BY   AGE\n"
        "broken   Failed   <unknown>   30d         <none>          30d\n"
        "old      Ready    3Gi         30d         <none>          30d\n"
        f"{NAME}broken deleted\n"
        f"{NAME}old deleted\n"
    )
    assert deleted(store) == ["broken", "old"]


def test_what_is_kept_is_told_on_request(chrek, store):
    assert chrek("gc", "--all", "--dry-run=client", "-v").err == (
        f"{NAME}busy is kept: still Creating\n{NAME}pinned is kept: pinned\n{NAME}used is kept: referenced by dgd/llm/Worker\n"
    )


def test_who_refers_to_what_is_kept_for_another_reason(chrek, store):
    store.put(GRAPHS, "more", spec={"services": {"Worker": {"checkpoint": {"enabled": True, "checkpointRef": "busy"}}}})
    assert chrek("gc", "busy", "--yes").err.startswith(f"{NAME}busy is kept: still Creating, referenced by dgd/more/Worker\n")


@pytest.mark.parametrize(
    ("strategy", "suffix", "verb"), [("client", "dry run", ""), ("server", "server dry run", "delete (dry run)")]
)
def test_dry_runs_delete_nothing_and_do_not_ask(chrek, store, strategy, suffix, verb):
    result = chrek("gc", "--failed", f"--dry-run={strategy}")
    assert (result.code, result.out.splitlines()[-1]) == (0, f"{NAME}broken deleted ({suffix})")
    assert ("dynamocheckpoints", "default", "broken") in store.objects
    assert [call[0] for call in store.calls if "delete" in call[0]] == [verb] * bool(verb)


def test_nobody_to_ask(chrek, store, stdin):
    stdin(b"y\n")
    result = chrek("gc", "--all")
    assert result.code == 2
    assert result.err == "error: nobody is there to ask, so nothing was deleted\nhint: give --yes, or --dry-run=client\n"
    assert deleted(store) == []


@pytest.mark.parametrize(("answer", "gone"), [(b"y\n", ["broken", "old"]), (b"Yes\n", ["broken", "old"]), (b"\n", []), (b"", [])])
def test_the_question(chrek, store, stdin, monkeypatch, answer, gone):
    stdin(answer)
    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.interactive", lambda: True)
    result = chrek("gc", "--all")
    assert result.err.startswith("Delete 2 checkpoints and free 3Gi? [y/N] ")
    assert result.err.endswith("Nothing was deleted.\n") != bool(gone)
    assert (result.code, deleted(store)) == (0, gone)


def test_what_came_into_use_while_the_question_stood_is_kept(chrek, store, monkeypatch):
    def confirm(question):
        store.put(PODS, "worker", metadata={"labels": {"nvidia.com/checkpoint-name": "old"}}, status={"phase": "Running"})
        return True

    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.interactive", lambda: True)
    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.confirm", confirm)
    result = chrek("gc", "--all")
    assert deleted(store) == ["broken"]
    assert result.err == "warning: old is kept: it has changed since the question was asked\n"


def test_names(chrek, store):
    result = chrek("gc", "old", "used", "--yes")
    assert (result.code, deleted(store)) == (6, ["old"])
    assert result.err == f"{NAME}used is kept: referenced by dgd/llm/Worker\n"
    alone = chrek("gc", "pinned", "--yes")
    assert (alone.code, alone.out) == (6, "")
    assert alone.err == f"{NAME}pinned is kept: pinned\nNothing to delete in default namespace.\n"


def test_a_name_that_is_not_there_deletes_nothing(chrek, store):
    result = chrek("gc", "old", "odl", "--yes")
    assert (result.code, result.out, deleted(store)) == (4, "", [])
    assert result.err == "error: odl: no such checkpoint in namespace default\nhint: nothing was deleted\n"


@pytest.mark.parametrize("plural", ["dynamocheckpoints", "dynamographdeployments", "pods"])
def test_any_list_that_fails_ends_it(chrek, store, plural):
    store.failing[plural] = ClusterError("Error from server (Forbidden): no", status=403)
    assert chrek("gc", "--all", "--yes").code == 1
    assert deleted(store) == []


def test_a_cluster_without_graphs_has_no_references(chrek, store):
    store.failing[GRAPHS.plural] = NotFoundError("Error from server (NotFound): no such kind")
    assert chrek("gc", "used", "--yes").out.splitlines()[-1] == f"{NAME}used deleted"


def test_a_checkpoint_that_was_replaced_is_not_deleted(chrek, store):
    original = store.delete

    async def replaced(resource, name, namespace=None, **options):
        if name == "broken":
            store.objects["dynamocheckpoints", "default", "broken"]["metadata"]["uid"] = "another"
        return await original(resource, name, namespace, **options)

    store.delete = replaced
    result = chrek("gc", "--all", "--yes")
    assert result.code == 6
    assert "Conflict" in result.err
    assert f"{NAME}old deleted" in result.out
    assert ("dynamocheckpoints", "default", "broken") in store.objects


def test_it_waits_for_the_artifact(chrek, store):
    finalized = store.objects["dynamocheckpoints", "default", "old"]

    async def mark(resource, name, namespace=None, **options):
        store.calls.append(("delete", resource.plural, name))
        return finalized

    store.delete = mark
    store.changes = [("MODIFIED", finalized), ("DELETED", finalized), ClusterError("watched for too long")]
    assert chrek("gc", "old", "--yes").code == 0
    assert store.changes != []
    store.changes = [ClusterError("waited")]
    assert chrek("gc", "old", "--yes", "--wait=false").code == 0
    assert chrek("gc", "old", "--yes").code == 1


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_structured_output(chrek, store, form, load):
    found = load(chrek("gc", "old", "used", "--dry-run=client", "-o", form).out)
    assert found["dryRun"] == "client"
    assert found["bytes"] == 3 << 30
    assert found["delete"] == [
        {
            "namespace": "default",
            "name": "old",
            "uid": "uid-1",
            "hash": "cfb060f4d0539cab",
            "phase": "Ready",
            "reason": "named",
            "bytes": 3 << 30,
            "lastUsed": "2026-01-01T12:00:00Z",
            "created": "2026-01-01T11:00:00Z",
            "referencedBy": [],
            "deleted": False,
        }
    ]
    assert [(each["name"], each["reason"], each["referencedBy"]) for each in found["keep"]] == [
        ("used", "referenced", ["dgd/llm/Worker"])
    ]


def test_names_only(chrek, store):
    assert chrek("gc", "--failed", "--yes", "-o", "name").out == f"{NAME}broken\n"


def test_all_namespaces(chrek, store):
    store.checkpoint("old", namespace="team", phase="Failed")
    lines = chrek("gc", "-A", "--failed", "--yes").out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["NAMESPACE", "NAME"], ["default", "broken"], ["team", "old"]]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "error: say what may go"),
        (["--all", "--failed"], "error: --all cannot be combined with names or other criteria"),
        (["--all", "name"], "error: --all cannot be combined with names or other criteria"),
        (["--keep-last", "-1"], "error: --keep-last: must not be negative"),
        (["--keep-last", "1", "--failed"], "error: --keep-last counts Ready checkpoints"),
        (["--older-than", "old"], "error: invalid duration 'old'"),
        (["--failed", "--dry-run=maybe"], "error: --dry-run: invalid value 'maybe'"),
        (["--failed", "-o", "wide"], "error: --output: unknown format 'wide'"),
    ],
)
def test_wrong_words(chrek, store, words, line):
    result = chrek("gc", "--yes", *words)
    assert (result.code, result.out, deleted(store)) == (2, "", [])
    assert result.err.startswith(line)


def test_nothing_to_do(chrek, fake):
    result = chrek("gc", "--all")
    assert (result.code, result.out, result.err) == (0, "", "Nothing to delete in default namespace.\n")
    assert chrek("gc", "--failed", "-A").err == "Nothing to delete in any namespace.\n"


def test_structured_output_says_what_was_deleted(chrek, store):
    found = json.loads(chrek("gc", "old", "--yes", "-o", "json").out)
    assert [(each["name"], each["deleted"]) for each in found["delete"]] == [("old", True)]
