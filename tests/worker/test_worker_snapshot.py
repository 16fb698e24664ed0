"""The files of Dynamo's own protocol are those of its present release, whose sources scripts/fetch-engines fetches."""

import ast
from pathlib import Path

import pytest

from chrek_worker import snapshot
from chrek_worker.control import ControlDirectory
from kubectl_chrek.api import names

DYNAMO = Path(__file__).parents[2] / ".cache/engines/dynamo"


@pytest.fixture
def constants():
    path = DYNAMO / "common/snapshot/constants.py"
    if not path.exists():
        pytest.skip("the sources of ai-dynamo are not here: run scripts/fetch-engines (it downloads some 400 MB)")
    assigned = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign))
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}


def test_files_and_variables_are_those_of_the_release(constants):
    files = {name: value for name, value in constants.items() if name.endswith("_FILE")}
    assert set(files.values()) == set(snapshot.FILES) - {"ready-for-checkpoint"}
    assert constants["SNAPSHOT_CONTROL_DIR_ENV"] == names.ENV_SNAPSHOT_DIR
    assert set().union(*(value for value in constants.values() if isinstance(value, set))) == snapshot.ASKED


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_each_of_its_workers_enters_the_protocol_by_that_variable(constants, engine):
    assert "SnapshotConfig.from_env()" in "".join((DYNAMO / engine / name).read_text() for name in ("main.py", "snapshot.py"))


def test_a_variable_that_the_pod_lacks_is_left_as_the_worker_has_it(tmp_path):
    control = ControlDirectory(str(tmp_path))
    snapshot.say_restored(control, {"POD_NAME": "new", "HOME": "/"})
    assert control.read(snapshot.CONTEXT) == {"env": {"POD_NAME": "new"}}
