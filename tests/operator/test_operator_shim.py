"""The shim's archive: the same bytes each time, and complete."""

import base64
import subprocess
import sys

import pytest

from chrek_operator import shim
from chrek_operator.shim import driver_copy, shim_archive, shim_config_map


def test_the_same_sources_give_the_same_bytes():
    first = shim_archive()
    shim_archive.cache_clear()
    assert shim_archive() == first


def test_building_it_does_not_import_the_worker():
    code = "import sys, chrek_operator.shim as s; s.shim_archive(); sys.exit('chrek_worker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_runs_by_itself_without_anything_installed(tmp_path):
    data = shim_config_map()["binaryData"]
    path = tmp_path / "chrek_worker.pyz"
    path.write_bytes(base64.b64decode(data["chrek_worker.pyz"]))
    found = subprocess.run([sys.executable, "-I", "-S", str(path)], capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr
    assert "no command given" in found.stdout + found.stderr


def test_it_fits_into_a_config_map():
    assert len(shim_archive()) + len(driver_copy()) < 512 * 1024


@pytest.mark.parametrize("content", [None, b"\x7fELF"])
def test_the_library_lies_beside_it_and_is_empty_where_it_was_not_built(monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "driver_copy-x86_64.so").write_bytes(content)
    archive = shim_archive()
    monkeypatch.setattr(shim, "shim_archive", lambda: archive)
    monkeypatch.setattr(shim, "driver_copy", driver_copy.__wrapped__)
    monkeypatch.setattr(shim, "_package", lambda name: tmp_path)
    assert base64.b64decode(shim_config_map()["binaryData"]["driver_copy-x86_64.so"]) == (content or b"")
