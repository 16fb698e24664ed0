"""`ls`, to the letter."""

import json

import pytest
import yaml

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cli import output
from kubectl_chrek.cluster.resources import CHECKPOINTS


@pytest.fixture
def three(fake):
    fake.checkpoint("73e74442beb109ed", model="Qwen/Qwen3-0.6B", phase="Ready", **READY)
    fake.checkpoint("by-hand", model="meta-llama/Llama-2-7b-hf", phase="Creating", identityHash="wrong")
    fake.checkpoint("new", model="m", namespace="team", framework="trtllm", metadata={"creationTimestamp": "2026-01-31T11:59:55Z"})
    return fake


READY = {
    "artifact": {"generation": "g1", "bytes": 1717986918, "node": "node-a", "coldStartSeconds": 184.2},
    "lastRestore": {"result": "restored", "seconds": 7.25},
    "restores": 12,
}


def test_table(chrek, three):
    assert chrek("ls").out == (
        "NAME               MODEL                      BACKEND   PHASE      HASH               AGE\n"
        "73e74442beb109ed   Qwen/Qwen3-0.6B            vllm      Ready      73e74442beb109ed   60m\n"
        "by-hand            meta-llama/Llama-2-7b-hf   vllm      Creating   96429b2725761a09   60m\n"
    )


def test_all_namespaces(chrek, three):
    assert chrek("ls", "-A", "--no-headers").out == (
        "default   73e74442beb109ed   Qwen/Qwen3-0.6B            vllm     Ready      73e74442beb109ed   60m\n"
        "default   by-hand            meta-llama/Llama-2-7b-hf   vllm     Creating   96429b2725761a09   60m\n"
        "team      new                m                          trtllm   Pending    26a3c2829bab2b18   5s\n"
    )


def test_wide(chrek, three):
    marks = {"nvidia.com/chrek-pin": '{"by": "alice"}', "nvidia.com/chrek-delete-after": "2026-01-31T12:59:00Z"}
    three.checkpoint(
        "zz",
        phase="Ready",
        metadata={"annotations": marks},
        lastRestore={"result": "cold", "reason": "corrupt"},
        coldStarts=3,
        artifact={"generation": "g", "bytes": 1 << 30, "uniqueBytes": 1 << 20},
        caches=[{"node": "a"}, {"node": "b"}],
    )
    lines = chrek("ls", "-o", "wide").out.splitlines()
    start = lines[0].index("AGE")
    assert [line[start:] for line in lines] == [
        "AGE   SIZE     UNIQUE      NODE     CACHES   COLD-START   LAST-RESTORE    RESTORES   COLD-STARTS   PINNED   DELETES-IN",
        "60m   1.6Gi    <unknown>   node-a   <none>   3m4s         7.2s            12         0             <none>   <none>",
        "60m   <none>   <none>      <none>   <none>   <none>       <none>          0          0             <none>   <none>",
        "60m   1Gi      1Mi         <none>   a,b      <none>       cold: corrupt   0          3             alice    59m",
    ]


def test_labels(chrek, three):
    three.checkpoint("zz", metadata={"labels": {"team/name": "red", "b": "1"}})
    lines = chrek("ls", "--show-labels", "-L", "team/name,b").out.splitlines()
    assert lines[0].split()[-4:] == ["AGE", "NAME", "B", "LABELS"]
    assert [line.split()[-3:] for line in lines[1:]] == [*[["<none>"] * 3] * 2, ["red", "1", "b=1,team/name=red"]]


def test_lists_come_in_pieces(chrek, three):
    whole = chrek("ls", "-A").out
    assert three.page_size == 500
    assert chrek("ls", "-A", "--chunk-size", "1").out == whole
    assert three.page_size == 1


@pytest.mark.parametrize("words", [["nope"], ["nope", "-o", "json"], ["-n", "empty"]])
def test_what_is_not_there_can_be_no_error(chrek, three, words):
    result = chrek("ls", "--ignore-not-found", *words)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_watch_events(chrek, three):
    ready = three.checkpoint("by-hand", phase="Ready")
    three.changes = [("MODIFIED", ready), ("DELETED", ready), ClusterError("gone")]
    lines = chrek("ls", "--watch-only", "--output-watch-events").out.splitlines()
    assert [line.split()[:2] for line in lines] == [["EVENT", "NAME"], ["MODIFIED", "by-hand"], ["DELETED", "by-hand"]]
    three.changes = [("DELETED", ready), ClusterError("gone")]
    assert json.loads(chrek("ls", "--watch-only", "--output-watch-events", "-o", "json").out)["type"] == "DELETED"


def test_names_keep_their_order_and_the_missing_one_is_told(chrek, three):
    result = chrek("ls", "by-hand", "nope", "73e74442beb109ed", "-o", "name")
    assert result.out == "dynamocheckpoint.nvidia.com/by-hand\ndynamocheckpoint.nvidia.com/73e74442beb109ed\n"
    assert result.err == 'Error from server (NotFound): dynamocheckpoints.nvidia.com "nope" not found\n'
    assert result.code == 4
    alone = chrek("ls", "nope", "-o", "json")
    assert (alone.code, alone.out) == (4, "")


def test_nothing_there(chrek, fake):
    assert (chrek("ls").err, chrek("ls").code) == ("No resources found in default namespace.\n", 0)
    assert chrek("ls", "-n", "team").err == "No resources found in team namespace.\n"
    assert chrek("ls", "-A").err == "No resources found.\n"
    assert json.loads(chrek("ls", "-o", "json").out)["items"] == []


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_objects_are_printed_whole(chrek, three, form, load):
    three.objects["dynamocheckpoints", "default", "by-hand"]["spec"]["unknown"] = {"field": "é"}
    found = load(chrek("ls", "-o", form).out)
    assert (found["kind"], found["apiVersion"]) == ("List", "v1")
    assert [item["metadata"]["name"] for item in found["items"]] == ["73e74442beb109ed", "by-hand"]
    assert load(chrek("ls", "by-hand", "-o", form).out) == three.objects["dynamocheckpoints", "default", "by-hand"]


def test_templates(chrek, three):
    assert chrek("ls", "-o", 'jsonpath={range .items[*]}{.metadata.name}{"\\n"}{end}').out == "73e74442beb109ed\nby-hand\n"
    assert chrek("ls", "by-hand", "-o", "jsonpath={.status.phase}").out == "Creating"
    columns = "custom-columns=NAME:.metadata.name,RESTORES:.status.restores"
    assert chrek("ls", "-o", columns).out == "NAME               RESTORES\n73e74442beb109ed   12\nby-hand            <none>\n"


def test_order(chrek, three):
    names = [line.split("/")[1] for line in chrek("ls", "-A", "-o", "name", "--sort-by", ".spec.identity.model").out.split()]
    assert names == ["73e74442beb109ed", "new", "by-hand"]
    by_age = chrek("ls", "-A", "-o", "name", "--sort-by={.metadata.creationTimestamp}").out.split()
    assert by_age[-1].endswith("/new")
    by_restores = chrek("ls", "-A", "-o", "name", "--sort-by", ".status.restores").out.split()
    assert by_restores[-1].endswith("/73e74442beb109ed")


def test_selectors_go_to_the_server(chrek, three):
    chrek("ls", "-l", "a=b", "--field-selector", "metadata.name=x")
    assert three.selectors == ("a=b", "metadata.name=x")


def test_a_model_cannot_break_the_table(chrek, fake):
    fake.checkpoint("a", model="evil\nmodel\x1b[2J")
    assert "evil\\nmodel\\x1b[2J" in chrek("ls").out
    assert len(chrek("ls").out.splitlines()) == 2


def test_watch_prints_changes_in_the_same_columns(chrek, three):
    ready = three.checkpoint("by-hand", model="meta-llama/Llama-2-7b-hf", phase="Ready")
    new = three.checkpoint("a-name-longer-than-those", phase="Pending")
    del three.objects["dynamocheckpoints", "default", "a-name-longer-than-those"]
    three.changes = [("MODIFIED", ready), ("ADDED", new), ("DELETED", ready), ClusterError("gone")]
    lines = chrek("ls", "-w").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("NAME", "73e74442beb109ed", "by-hand"),
        *("by-hand", "a-name-longer-than-those", "by-hand"),
    ]
    assert lines[3].index("meta-llama") == lines[0].index("MODEL")
    assert lines[5].index("meta-llama") == len("a-name-longer-than-those") + 3


def test_watch_of_one_name_shows_no_other(chrek, three):
    other = three.checkpoint("other")
    three.changes = [("MODIFIED", other), ClusterError("gone")]
    assert chrek("ls", "by-hand", "-w", "-o", "name").out == "dynamocheckpoint.nvidia.com/by-hand\n"


def test_a_long_list_is_printed_as_it_comes(chrek, fake, monkeypatch):
    monkeypatch.setattr("kubectl_chrek.cli.paging.ALIGNED", 2)
    for name in ("a", "b", "c-with-a-long-name", "d", "e"):
        fake.checkpoint(name)
    written = []
    monkeypatch.setattr("kubectl_chrek.cli.output.write", written.append)
    chrek("ls", "--chunk-size", "1")
    assert [len(text.splitlines()) for text in written] == [3, 2, 1]
    lines = "".join(written).splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "a", "b", "c-with-a-long-name", "d", "e"]
    assert len({line.index("vllm") for line in lines[3:]}) == 1


def test_rows_survive_what_others_have_written(chrek, fake):
    fake.put(CHECKPOINTS, "odd", spec="x", status={"artifact": [], "caches": 7, "lastRestore": "y", "restores": None, "phase": 3})
    odd = {"bytes": -1, "coldStartSeconds": "long", "uniqueBytes": "many"}
    marks = {"nvidia.com/chrek-pin": "[1]", "nvidia.com/chrek-delete-after": "tomorrow"}
    restore = {"result": "restored", "seconds": "1"}
    fake.checkpoint("worse", artifact=odd, caches=["z"], lastRestore=restore, metadata={"annotations": marks})
    fake.objects["dynamocheckpoints", "default", "worse"]["metadata"]["creationTimestamp"] = "then"
    result = chrek("ls", "-o", "wide")
    assert (result.code, len(result.out.splitlines())) == (0, 3)
    cells = result.out.splitlines()[2].split()[5:]
    assert cells == ["<unknown>"] * 3 + ["<none>"] * 2 + ["<unknown>"] * 2 + ["0", "0", "yes", "<none>"]


@pytest.mark.parametrize("kind", ["json", "yaml"])
@pytest.mark.parametrize("pages", [[], [[]], [["a"]], [["a", "b"], [], ["c\n\u2028é"]]])
def test_a_document_is_the_same_however_it_comes(capsys, kind, pages):
    bodies = [
        [{"metadata": {"name": name, "none": None}, "list": [], "nested": [{"a": [1, "[]"]}]} for name in page] for page in pages
    ]
    output.write_structured(kind, output.as_list([body for page in bodies for body in page]))
    whole = capsys.readouterr().out
    writer = output.ListWriter(kind)
    for page in bodies:
        writer.write(page)
    writer.end()
    assert capsys.readouterr().out == whole


def test_names_and_columns_are_printed_whole_or_not_at_all(chrek, three, monkeypatch):
    written = []
    monkeypatch.setattr("kubectl_chrek.cli.output.write", written.append)
    for form in ("name", "custom-columns=NAME:.metadata.name"):
        chrek("ls", "-A", "-o", form, "--chunk-size=1")
    assert [len(text.splitlines()) for text in written] == [3, 4]
    written.clear()
    chrek("ls", "-A", "-o", "json", "--chunk-size=1")
    assert len(written) == 4
    assert len(json.loads("".join(written))["items"]) == 3
