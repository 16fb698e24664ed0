"""Which nodes can restore what, today and after an upgrade."""

import pytest

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.compatibility import Compatibility, Gpu, Verdict
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.compat import Place, answer, nowhere, parse_changes, table, what_if

KNOWN = {"architecture": "x86_64", "cpu_features": ["avx"], "kernel": "6.8.0", "criu": "4.2", "memory_bytes": 1, "cuda": "13.0"}
H200, H100 = Gpu(model="H200", memory_bytes=1 << 37, uuid="u"), Gpu(model="H100", memory_bytes=1 << 36, uuid="v")


def facts(**changes):
    return Compatibility(**(KNOWN | {"gpus": [H200], "driver": "580.65.06"} | changes))


def checkpoint(name="a", **changes):
    artifact = {"generation": "g", "compatibility": facts(**changes).model_dump(mode="json", by_alias=True)}
    return read_checkpoint({"metadata": {"name": name, "uid": name}, "status": {"phase": "Ready", "artifact": artifact}})


def test_a_pod_gets_as_many_gpus_as_it_asks_for():
    assert answer(facts(), Place("n", facts(gpus=[H100, H200, H200]))).verdict is Verdict.PASS
    assert answer(facts(gpus=[H200, H200]), Place("n", facts())).verdict is Verdict.FAIL
    assert answer(facts(), Place("n", facts(gpus=[H100]))).reason.startswith("captured on GPU H200, here it is H100")
    assert answer(facts(gpus=None), Place("n", facts())).verdict is Verdict.UNKNOWN


def test_what_only_pods_have_is_no_question_for_a_node():
    names = {check.name for check in answer(facts(image_digest="sha256:1", argv=["w"]), Place("n", facts())).checks}
    assert not names & {"image", "arguments", "environment", "mounts"}


def test_what_an_upgrade_invalidates():
    places = [Place("n", facts()), Place("m", facts(driver="570.1"))]
    now = table([checkpoint()], places)[0]
    assert (now.on(Verdict.PASS), now.on(Verdict.FAIL)) == (["n"], ["m"])
    then = table([checkpoint()], what_if(places, parse_changes(["driver=595"])))[0]
    assert then.on(Verdict.FAIL) == ["n", "m"]
    assert "captured with driver 580.65.06, here it is 595" in then.answers[0].reason
    assert table([checkpoint()], what_if(places, parse_changes(["driver=580.70"])))[0].on(Verdict.PASS) == ["n", "m"]
    image = what_if(places, parse_changes(["image=sha256:2"]))
    assert table([checkpoint(image_digest="sha256:1")], image)[0].on(Verdict.FAIL) == ["n", "m"]
    assert table([checkpoint(image_digest="sha256:1")], places)[0].on(Verdict.PASS) == ["n"]


def test_nowhere():
    old = Place("m", facts(driver="570.1"))
    assert nowhere([checkpoint()], [Place("n", facts()), old]) == {}
    assert nowhere([checkpoint()], [old]) == {"a": "captured with driver 580.65.06, here it is the older 570.1"}
    assert nowhere([checkpoint()], [old, Place("o", facts(kernel="5.4"))]) == {"a": "incompatible with every node"}
    assert nowhere([checkpoint()], []) == {}
    assert nowhere([read_checkpoint({"metadata": {"name": "b"}})], [old]) == {}


@pytest.mark.parametrize("texts", [["driver"], ["colour=red"], ["driver="], ["driver=1,driver=2"], [""]])
def test_changes_that_cannot_be_read(texts):
    with pytest.raises(UsageError, match="--what-if"):
        parse_changes(texts)
    assert parse_changes(["driver=1, kernel=2", "criu=3"]) == {"driver": "1", "kernel": "2", "criu": "3"}
