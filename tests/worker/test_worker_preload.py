"""Which workers are started with the library that copies for the CUDA driver."""

import pytest

from chrek_worker import preload
from kubectl_chrek.api import names


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A machine with a GPU and the library."""
    library, device = tmp_path / "library.so", tmp_path / "nvidiactl"
    library.write_bytes(b"\x7fELF")
    device.touch()
    monkeypatch.setattr(preload, "LIBRARY", str(library))
    monkeypatch.setattr(preload, "DEVICE", str(device))
    monkeypatch.setattr(preload, "MACHINE", preload.os.uname().machine)
    return library, device


def test_a_gpu_worker_gets_it(node):
    assert preload.added({"A": "b"}) == {"A": "b", "LD_PRELOAD": str(node[0])}


def test_what_the_image_loads_first_stays_first(node):
    assert preload.added({"LD_PRELOAD": "/jemalloc.so"}) == {"LD_PRELOAD": f"/jemalloc.so:{node[0]}"}


def test_a_worker_without_a_gpu_does_not(node):
    node[1].unlink()
    assert preload.added({}) == {}
    said = {names.ENV_DRIVER_COPY: "on"}
    assert preload.added(said) == {**said, "LD_PRELOAD": str(node[0])}


def test_it_can_be_switched_off(node):
    said = {names.ENV_DRIVER_COPY: "off"}
    assert preload.added(said) == said


@pytest.mark.parametrize("content", [None, b""])
def test_where_it_was_not_built_all_is_as_before(node, content):
    node[0].unlink()
    if content is not None:
        node[0].write_bytes(content)
    assert preload.added({}) == {}


def test_it_is_not_for_other_machines(node, monkeypatch):
    monkeypatch.setattr(preload, "MACHINE", "riscv64")
    assert preload.added({}) == {}
