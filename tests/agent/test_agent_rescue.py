"""A worker whose agent was killed during its capture: it gets its GPUs back, and what its user had stopped stays so."""

import subprocess
import sys
from dataclasses import replace

import pytest

from chrek_agent.container import processes, stopped
from chrek_agent.cuda.driver import CudaError
from chrek_agent.cuda.rescue import give_back


class Driver:
    """Knows some processes, each in a state; a call that does not fit it is refused."""

    def __init__(self, **states):
        self.states = {int(pid.removeprefix("p")): state for pid, state in states.items()}
        self.calls = []

    def holds(self, pid):
        return pid in self.states

    def restore(self, pid, gpus):
        self._change("restore", pid, "saved", "locked")
        assert gpus == {}

    def unlock(self, pid):
        self._change("unlock", pid, "locked", "runs")

    def _change(self, name, pid, before, after):
        self.calls.append((name, pid))
        if self.states[pid] != before:
            raise CudaError(f"{name} failed: CUDA_ERROR_ILLEGAL_STATE")
        self.states[pid] = after


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Processes 11 to 13 have the driver's library, 14 does not."""
    one = processes.Process(pid=11, parent=1, inner=1001, name="w", state="S", start=1)
    for pid in range(11, 15):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "maps").write_text("7f0-7f1 r-xp 0 0:0 1 /lib/libcuda.so.1\n" if pid < 14 else "")
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    return [replace(one, pid=pid) for pid in range(11, 15)]


def test_all_get_their_gpus_back_whatever_had_been_done_to_them(tree, tmp_path, caplog):
    driver = Driver(p11="saved", p12="locked", p13="runs")
    give_back(tree, lambda: driver, tmp_path)
    assert set(driver.states.values()) == {"runs"}
    restored = [index for index, (name, _) in enumerate(driver.calls) if name == "restore"]
    assert max(restored) < min(set(range(len(driver.calls))) - set(restored))
    assert "CUDA_ERROR_ILLEGAL_STATE" in caplog.text


def test_processes_that_the_driver_does_not_know_are_left_alone(tree, tmp_path):
    driver = Driver(p12="saved")
    give_back(tree, lambda: driver, tmp_path)
    assert {pid for _, pid in driver.calls} == {12}


def test_without_gpus_or_their_library_no_driver_is_opened(tree, tmp_path):
    def refuse():
        raise AssertionError

    give_back(tree, refuse, tmp_path / "none")
    give_back(tree[3:], refuse, tmp_path)


def test_a_driver_that_cannot_be_asked_stops_nothing(tree, tmp_path, caplog):
    def refuse():
        raise CudaError("no libcuda")

    give_back(tree, refuse, tmp_path)
    assert "cannot be given back: no libcuda" in caplog.text


def test_the_guardian_starts_without_the_drivers_package():
    program = "import sys, chrek_agent.guardian; assert not [name for name in sys.modules if name.startswith('cuda')]"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_who_was_stopped(tmp_path):
    worker = [
        processes.Process(pid=9, parent=1, inner=inner, name="w", state=state, start=1) for inner, state in ((5, "T"), (6, "S"))
    ]
    stopped.save(stopped.among(worker), tmp_path / "f")
    assert stopped.load(tmp_path / "f") == {5}
    stopped.save([], tmp_path / "g")
    assert not (tmp_path / "g").exists()
    assert stopped.load(tmp_path / "g") == frozenset()
    for strange in ("", "7", "{", '["x"]', "[null]"):
        (tmp_path / "g").write_text(strange)
        assert stopped.load(tmp_path / "g") == frozenset()
