"""What a program of plain torch does about its GPUs before a capture; torch itself is stood in for."""

import sys
import types

import pytest

from chrek_worker.adapters import torch_inprocess


@pytest.fixture
def done(monkeypatch):
    """What was called; GPUs 0 and 2 of three hold something."""
    found = []
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 3,
        memory_reserved=lambda device: device != 1,
        synchronize=lambda device: found.append(f"wait {device}"),
        empty_cache=lambda: found.append("empty"),
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    return found


def test_its_gpus_are_idle_and_torchs_cache_is_given_back_once_it_stands_still(done):
    calls = torch_inprocess.calls(before_capture=lambda: done.append("still"), on_restore=lambda: {"apart": 3})
    calls["before_capture"]()
    assert done == ["still", "wait 0", "wait 2", "empty"]
    assert calls["on_restore"]() == {"apart": 3}


def test_without_a_gpu_nothing_is_touched(done, monkeypatch):
    monkeypatch.setattr(sys.modules["torch"].cuda, "is_initialized", lambda: False)
    torch_inprocess.calls()["before_capture"]()
    monkeypatch.delitem(sys.modules, "torch")
    torch_inprocess.calls()["before_capture"]()
    assert done == []
