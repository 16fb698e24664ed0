"""What the shim may use: it runs on the Python of any worker's image."""

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import chrek_worker
from kubectl_chrek import api

FILES = [*sorted(Path(chrek_worker.__file__).parent.rglob("*.py")), Path(api.__file__).with_name("names.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_python_3_9_can_read_it(path):
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_standard_library_and_the_names_are_imported(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" if node.module == "kubectl_chrek.api" else node.module for alias in node.names}
    ours = {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in ours if name.split(".")[0] != "chrek_worker"} <= {"kubectl_chrek.api.names"}


def test_it_runs_without_site_packages(tmp_path):
    paths = [str(Path(chrek_worker.__file__).parents[1]), str(Path(api.__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {paths}; import chrek_worker.shim; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    outside = sysconfig.get_path("purelib")
    assert "pydantic" not in found.stdout.split()
    assert "kubectl_chrek.api.names" in found.stdout.split()
    assert outside not in found.stderr


def test_the_pid_counter_is_moved_past_the_number():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    code = (
        "import os; from chrek_worker.processes import advance_pids; advance_pids(1000); child = os.fork(); child and print(child)"
    )
    found = subprocess.run(["unshare", "-p", "-f", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1000 <= int(found.stdout) < 1100
