"""`prewarm --nodes`: artifacts in the caches of nodes before anybody starts there; and `verify --repair`, which uses them."""

import copy
import json

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster.resources import CHREK_NODES, NODES

NAME = "dynamocheckpoint.nvidia.com/"
STAGE, REPAIR = "nvidia.com/chrek-stage", "nvidia.com/chrek-repair"


def whole(node, **more):
    return {"node": node, "bytes": 4 << 30, "total": 4 << 30, "generation": "g1"} | more


@pytest.fixture
def nodes(fleet):
    """Two nodes with caches, one without, one whose agent is silent; of the checkpoint `used` the first one has a part."""
    for name, quota, heard in (("a", 9, "11:59:50"), ("b", 9, "11:59:50"), ("direct", 0, "11:59:50"), ("silent", 9, "10:00:00")):
        status = {"agent": {"heartbeatAt": f"2026-01-31T{heard}Z"}, "cache": {"quotaBytes": quota}}
        fleet.put(CHREK_NODES, name, namespace="", status=status)
        fleet.put(NODES, name, namespace="", metadata={"labels": {"pool": "x"}})
    for name in ("new", "old"):
        del fleet.objects["chreknodes", "", name]
    fleet.objects["dynamocheckpoints", "default", "used"]["status"]["caches"] = [{"node": "a", "bytes": 1}]
    return fleet


def annotation(fake, key=STAGE, name="used"):
    return fake.objects["dynamocheckpoints", "default", name]["metadata"].get("annotations", {}).get(key)


def answered(fake, *caches):
    body = copy.deepcopy(fake.objects["dynamocheckpoints", "default", "used"])
    body["status"]["caches"] = list(caches)
    fake.changes.append(("MODIFIED", body))


def test_it_is_asked_for_once_whatever_was_asked_before(chrek, nodes):
    first = chrek("prewarm", "--checkpoint", "used", "--nodes", "b,a")
    assert (first.code, first.err) == (0, "")
    assert first.out == f"{NAME}used unchanged\n{NAME}used staging requested on a, b\n"
    assert annotation(nodes) == "a,b"
    nodes.put(CHREK_NODES, "c", namespace="", status=nodes.objects["chreknodes", "", "a"]["status"])
    chrek("prewarm", "--checkpoint", "used", "--nodes", "c")
    assert annotation(nodes) == "a,b,c"
    nodes.calls.clear()
    assert chrek("prewarm", "--checkpoint", "used", "--nodes", "a").code == 0
    assert not [call for call in nodes.calls if call[0] == "patch"]


def test_waiting_tells_how_each_node_ended(chrek, nodes):
    operation = {"kind": "stage", "namespace": "default", "checkpoint": "used", "bytesDone": 1 << 30, "bytesTotal": 4 << 30}
    nodes.objects["chreknodes", "", "b"]["status"]["operations"] = [operation | {"startedAt": "2026-01-31T11:59:00Z"}]
    nodes.objects["chreknodes", "", "a"]["status"]["operations"] = [operation]
    answered(nodes, whole("a"), {"node": "b", "message": "the cache has no room for all of it", "bytes": 5, "total": 9})
    result = chrek("prewarm", "--checkpoint", "used", "--nodes=a,b,direct", "--wait")
    assert result.code == 6
    assert f"{NAME}used staged on a (4Gi)\n" in result.out
    assert "direct: no cache there; restores read the store itself, nothing is staged\n" in result.err
    assert result.err.count("staging:\n") == 1, "nodes take turns, and are no news each"
    assert "error: used is not staged on b: the cache has no room for all of it\n" in result.err


def test_what_is_there_is_not_waited_for(chrek, nodes):
    nodes.objects["dynamocheckpoints", "default", "used"]["status"]["caches"] = [whole("a"), whole("b", generation="")]
    result = chrek("prewarm", "--checkpoint", "used", "--nodes", "a,b", "--wait")
    assert (result.code, result.out) == (0, f"{NAME}used unchanged\n{NAME}used already staged on a, b\n")


def test_a_node_that_failed_is_asked_again(chrek, nodes):
    failed = {"node": "b", "message": "the store is full", "bytes": 0}
    used = nodes.objects["dynamocheckpoints", "default", "used"]
    used["status"]["caches"] = [failed]
    used["metadata"]["annotations"] = {STAGE: "a,b"}
    answered(nodes, failed)
    answered(nodes, whole("b"))
    nodes.calls.clear()
    assert chrek("prewarm", "--checkpoint", "used", "--nodes", "b", "--wait").code == 0
    assert len([call for call in nodes.calls if call[0] == "patch"]) == 2
    assert annotation(nodes) == "a,b"


def test_all_nodes_and_nodes_by_label(chrek, nodes):
    result = chrek("prewarm", "--checkpoint", "used", "--nodes", "*", "-o", "name")
    assert (result.out, annotation(nodes)) == (f"{NAME}used\n", "*")
    del nodes.objects["chreknodes", "", "silent"]
    used = nodes.objects["dynamocheckpoints", "default", "used"]
    used["metadata"]["annotations"] = {}
    assert chrek("prewarm", "--checkpoint", "used", "--node-selector", "pool=x").code == 0
    assert annotation(nodes) == "a,b"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--nodes", "nowhere"), 4, "error: no agent has told of a node nowhere\n"),
        (("--nodes", "silent"), 5, "error: the agent of node silent is silent\n"),
        (("--nodes", "direct"), 5, "error: no cache to stage to on direct: restores there read the store itself\n"),
        (("--nodes", "a", "--node-selector", "b"), 2, "error: give --nodes or --node-selector, not both\n"),
    ],
)
def test_nodes_that_cannot_be_meant_change_nothing(chrek, nodes, words, code, message):
    result = chrek("prewarm", "--checkpoint", "used", *words)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(message)
    assert annotation(nodes) is None


def test_without_the_right_to_list_nodes(chrek, nodes):
    nodes.failing["nodes"] = ClusterError("Error from server (Forbidden): nodes is forbidden", status=403)
    result = chrek("prewarm", "--checkpoint", "used", "--node-selector", "pool=x")
    assert result.code == 1
    assert result.err.endswith("hint: --node-selector needs the right to list nodes; name them by --nodes\n")


def test_a_dry_run_asks_for_nothing(chrek, nodes):
    for strategy, shown in (("client", "dry run"), ("server", "server dry run")):
        result = chrek("prewarm", "--checkpoint", "used", "--nodes", "a", "--wait", f"--dry-run={strategy}")
        assert result.out.endswith(f"{NAME}used staging requested on a ({shown})\n")
    assert annotation(nodes) is None


def test_one_that_is_made_is_staged_as_soon_as_it_is_ready(chrek, nodes):
    flags = ("--model", "q", "--framework", "vllm", "--image", "i", "--nodes", "a", "--", "w")
    result = chrek("prewarm", *flags)
    name = result.out.split("/")[1].split()[0]
    assert result.out == f"{NAME}{name} created\n{NAME}{name} staging requested on a\n"
    assert annotation(nodes, name=name) == "a"


def test_a_checkpoint_that_is_deleted_meanwhile(chrek, nodes):
    nodes.changes.append(("DELETED", nodes.objects["dynamocheckpoints", "default", "used"]))
    result = chrek("prewarm", "--checkpoint", "used", "--nodes", "a", "--wait")
    assert result.code == 5
    assert result.err.endswith("error: checkpoint used was deleted while it was staged\n")


def test_a_repair_goes_to_the_nodes_that_have_copies(chrek, nodes, monkeypatch):
    monkeypatch.setattr("kubectl_chrek.cli.verifying.secrets.token_hex", lambda _: "n1")
    used = nodes.objects["dynamocheckpoints", "default", "used"]
    used["status"]["caches"] = [{"node": "a", "bytes": 1}, whole("b"), whole("silent")]
    answer = {"nonce": "n1", "result": "ok", "bytes": 4 << 30, "seconds": 2.0, "repairedChunks": 3, "repairedBytes": 6 << 20}
    done = copy.deepcopy(used)
    done["status"]["verification"] = answer
    nodes.changes += [("MODIFIED", done)]
    result = chrek("verify", "used", "--repair", "--from", "s3://backup/x")
    assert (result.code, result.out) == (0, f"{NAME}used repaired: 4Gi in 2.0s, 2.15 GB/s, 3 chunks stored anew\n")
    assert json.loads(annotation(nodes, REPAIR)) == {"nonce": "n1", "nodes": ["b", "a"], "sources": ["s3://backup/x"]}
    assert chrek("verify", "used", "--repair", "--no-wait").out == f"{NAME}used repair requested\n"
    assert chrek("verify", "used", "--no-wait").code == 0
    assert annotation(nodes, REPAIR) is None
    assert chrek("verify", "used", "--from", "/x").err.startswith("error: --from needs --repair\n")
