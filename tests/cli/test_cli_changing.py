"""`pin`, `unpin`, `undelete` and `verify`."""

import json

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster.resources import CHECKPOINTS

NAME = "dynamocheckpoint.nvidia.com/"
PIN = "nvidia.com/chrek-pin"
DUE = "nvidia.com/chrek-delete-after"


def annotations(fake, name):
    return fake.objects[CHECKPOINTS.plural, "default", name]["metadata"].get("annotations", {})


def test_pin_and_unpin(chrek, fleet):
    assert chrek("pin", "used", "--by", "alice", "--note", "demo").out == f"{NAME}used pinned\n"
    assert json.loads(annotations(fleet, "used")[PIN]) == {"by": "alice", "note": "demo", "at": "2026-01-31T12:00:00Z"}
    assert chrek("pin", "used", "--by", "alice", "--note", "demo").out == f"{NAME}used unchanged\n"
    assert chrek("pin", "used", "--by", "bob").out == f"{NAME}used pinned\n"
    assert chrek("unpin", "used", "idle").out == f"{NAME}used unpinned\n{NAME}idle unchanged\n"
    assert annotations(fleet, "used") == {}


def test_who_pins_is_known_without_a_word(chrek, fleet, monkeypatch):
    monkeypatch.setenv("LOGNAME", "carol")
    chrek("pin", "used")
    assert json.loads(annotations(fleet, "used")[PIN])["by"] == "carol"


@pytest.mark.parametrize("verb", ["pin", "unpin", "undelete"])
def test_dry_runs_change_nothing(chrek, fleet, verb):
    name = {"pin": "used", "unpin": "other", "undelete": "doomed"}[verb]
    fleet.checkpoint("doomed", phase="Ready", metadata={"annotations": {DUE: "2026-01-31T13:00:00Z"}})
    before = annotations(fleet, name)
    past = {"pin": "pinned", "unpin": "unpinned", "undelete": "undeleted"}[verb]
    assert chrek(verb, name, "--dry-run=client").out == f"{NAME}{name} {past} (dry run)\n"
    assert chrek(verb, name, "--dry-run=server").out == f"{NAME}{name} {past} (server dry run)\n"
    assert annotations(fleet, name) == before
    assert [call[0] for call in fleet.calls if "patch" in call[0]] == ["patch (dry run)"]
    assert chrek(verb, name, "-o", "name").out == f"{NAME}{name}\n"
    assert chrek(verb, "nope", "--dry-run=client").code == 4
    assert chrek(verb, name, "-A").code == 2


def test_undelete(chrek, fleet):
    fleet.checkpoint("doomed", phase="Ready", metadata={"annotations": {DUE: "2026-01-31T13:00:00Z", "a": "b"}})
    fleet.checkpoint("late", phase="Ready", metadata={"deletionTimestamp": "2026-01-31T11:00:00Z"})
    result = chrek("undelete", "doomed", "late", "used")
    assert result.out == f"{NAME}doomed undeleted\n{NAME}used unchanged (was not marked)\n"
    assert (result.code, result.err.splitlines()[0]) == (1, "error: late is being deleted: it is too late")
    assert annotations(fleet, "doomed") == {"a": "b"}


def test_what_is_there_already_is_told_by_a_dry_run_too(chrek, fleet):
    chrek("pin", "used", "--by", "alice")
    assert chrek("pin", "used", "--by", "alice", "--dry-run=client").out == f"{NAME}used unchanged (dry run)\n"
    assert chrek("unpin", "idle", "--dry-run=client").out == f"{NAME}idle unchanged (dry run)\n"
    shown = json.loads(chrek("unpin", "used", "--dry-run=client", "-o", "json").out)
    assert (shown["metadata"]["annotations"], PIN in annotations(fleet, "used")) == ({}, True)
    result = chrek("pin", "nope", "used", "--by", "bob", "-o", "json")
    assert (result.code, [each["metadata"]["name"] for each in json.loads(result.out)["items"]]) == (4, ["used"])


@pytest.fixture
def answered(fleet, monkeypatch):
    """Agents answer what was asked: `answered(used="ok", ...)`."""
    monkeypatch.setattr("kubectl_chrek.cli.verifying.secrets.token_hex", lambda _: "n1")

    def answer(**results):
        for name, result in results.items():
            body = fleet.objects[CHECKPOINTS.plural, "default", name]
            more = result if isinstance(result, dict) else {"result": result}
            found = {"nonce": "n1", "bytes": 3 << 30, "bytesTotal": 4 << 30, "seconds": 2.0, "message": "why"} | more
            fleet.changes.append(("MODIFIED", body | {"status": body["status"] | {"verification": found}}))

    return answer


def test_verify_waits_for_the_answer(chrek, fleet, answered):
    answered(used="running")
    answered(used="ok", other="ok")
    result = chrek("verify", "used")
    assert result.out == f"{NAME}used verified: 3Gi in 2.0s, 1.61 GB/s\n"
    assert (result.code, result.err) == (0, "used: verifying\n")
    assert annotations(fleet, "used") == {"nvidia.com/chrek-verify": "n1"}


def test_verify_tells_what_is_corrupt(chrek, fleet, answered):
    answered(used="ok", idle="corrupt", other="ok")
    result = chrek("verify", "--all")
    assert f"{NAME}idle is corrupt: why\n" in result.out
    assert (result.code, len(result.out.splitlines())) == (6, 3)
    answered(used="ok", idle="corrupt", other="ok")
    assert chrek("verify", "--all", "-o", "name").out == f"{NAME}other\n{NAME}used\n"
    answered(used="ok", idle="corrupt", other="ok")
    assert [each["result"] for each in json.loads(chrek("verify", "--all", "-o", "json").out)] == ["corrupt", "ok", "ok"]


def test_verify_may_want_a_signature(chrek, fleet, answered):
    unsigned = {"result": "ok", "unsigned": "artifact g is not signed"}
    for signed, more, code, line in [
        (
            {"result": "ok", "signedBy": "5eed" * 16},
            ["--require-signature"],
            0,
            "used verified: 3Gi in 2.0s, 1.61 GB/s, signed by 5eed5eed",
        ),
        (unsigned, ["--require-signature"], 6, "used is whole, but not signed: artifact g is not signed"),
        (unsigned, [], 0, "used verified: 3Gi in 2.0s, 1.61 GB/s\n"),
        ({"result": "ok"}, ["--require-signature"], 6, "used is whole, but not signed: its agent does not look for signatures"),
        ({"result": "failed"}, [], 6, "used could not be verified: why"),
    ]:
        answered(used=signed)
        result = chrek("verify", "used", *more)
        assert (result.code, result.out[: len(NAME + line)]) == (code, NAME + line)
    answered(used=unsigned)
    assert chrek("verify", "used", "--require-signature", "-o", "name").out == ""
    assert chrek("verify", "used", "--require-signature", "--no-wait").code == 2


def test_an_old_answer_is_none(chrek, fleet, answered):
    body = fleet.objects[CHECKPOINTS.plural, "default", "used"]
    fleet.changes = [
        ("MODIFIED", body | {"status": body["status"] | {"verification": {"nonce": "old", "result": "ok"}}}),
        ClusterError("waited"),
    ]
    assert chrek("verify", "used").err == "error: waited\n"


def test_verify_without_waiting(chrek, fleet):
    assert chrek("verify", "used", "--wait=false").out == f"{NAME}used verification requested\n"
    fleet.changes = [("DELETED", fleet.objects[CHECKPOINTS.plural, "default", "used"])]
    assert chrek("verify", "used").err == "error: checkpoint used was deleted while it was verified\n"
    assert chrek("verify", "--all", "-n", "elsewhere").err == "No artifacts found in elsewhere namespace.\n"
    for words in ([], ["used", "--all"], ["-l", "a=b", "--all"]):
        assert chrek("verify", *words).code == 2
