"""The environment of workers that can be captured."""

import re
from copy import deepcopy
from pathlib import Path

import pytest

from chrek_operator.capture_env import CAPTURE_ENV, SOURCE, capture_data
from chrek_operator.injection import Injection, inject_source, inject_target
from chrek_operator.shim import shim_config_map

INJECTION = Injection("my-ckpt", "5941a4cb3c363457", "pvc", "/checkpoints")
TEMPLATE = {"spec": {"containers": [{"name": "main", "image": "worker:1", "command": ["serve"]}]}}


def environment(pod):
    return {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}


def test_both_sides_get_the_same():
    source, target = environment(inject_source(TEMPLATE, INJECTION)), environment(inject_target(TEMPLATE, INJECTION))
    table = {entry.name: entry.value for entry in CAPTURE_ENV}
    assert table.items() <= source.items()
    assert set(source) - set(target) == {"DYN_CHECKPOINT_SIGNAL_FILE", "DYN_SNAPSHOT_CONTROL_DIR"}
    assert target.items() <= source.items()


@pytest.mark.parametrize("own", [{"value": "1"}, {"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}])
def test_what_the_container_says_itself_wins(own):
    template = deepcopy(TEMPLATE)
    entry = {"name": "NCCL_NVLS_ENABLE", **own}
    template["spec"]["containers"][0]["env"] = [entry]
    for pod in (inject_source(template, INJECTION), inject_target(template, INJECTION)):
        found = [item for item in pod["spec"]["containers"][0]["env"] if item["name"] == "NCCL_NVLS_ENABLE"]
        assert found == [entry]


def test_what_comes_by_env_from_wins_too():
    template, theirs = deepcopy(TEMPLATE), {"configMapRef": {"name": "flags"}}
    worker = template["spec"]["containers"][0]
    worker |= {"envFrom": [theirs], "env": [{"name": "NCCL_NVLS_ENABLE", "value": "1"}]}
    for inject in (inject_source, inject_target):
        found = inject(template, INJECTION)["spec"]["containers"][0]
        # Of the sources the last one wins, and `env` over them all.
        assert found["envFrom"] == [SOURCE, theirs]
        assert {entry["name"] for entry in found["env"]} & set(capture_data()) == {"NCCL_NVLS_ENABLE"}
        again = inject({"spec": {"containers": [found]}}, INJECTION)["spec"]["containers"][0]
        assert again["envFrom"] == [SOURCE, theirs]
    worker["envFrom"] = [SOURCE]
    found = inject_source(template, INJECTION)
    assert "envFrom" not in found["spec"]["containers"][0]
    assert set(capture_data()) < set(environment(found))
    assert shim_config_map()["data"] == capture_data()


def test_no_variable_stands_twice_and_each_has_its_reason():
    assert len({entry.name for entry in CAPTURE_ENV}) == len(CAPTURE_ENV)
    assert all(entry.reason for entry in CAPTURE_ENV)


def test_the_document_has_the_table_as_it_is():
    document = Path(__file__).parents[2].joinpath("docs", "worker-contract.md").read_text()
    told = re.findall(r"^\| `(\w+)=(\w+)` \| (.+) \|$", document, re.MULTILINE)
    assert [(name, value, reason.replace("`", "")) for name, value, reason in told] == [
        (entry.name, entry.value, entry.reason) for entry in CAPTURE_ENV
    ]
