"""A worker with memory on a real GPU, through the agent's own capture and restore; benchmarks/gpu has what it takes."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu"
CRIU = Path(os.environ.get("CHREK_CRIU_ROOT", "/opt/chrek/criu"))
GIB = 1 << 30


def reason():
    if not Path("/dev/nvidiactl").exists():
        return "needs a GPU and NVIDIA's driver"
    if os.geteuid() != 0:
        return "needs root"
    if not (CRIU / "usr/sbin/criu").exists():
        return "needs CRIU (scripts/install-criu)"
    if importlib.util.find_spec("cuda") is None:
        return "needs pip install 'kubectl-chrek[gpu]'"
    if subprocess.run(["python3", "-c", "import torch"], check=False, capture_output=True).returncode != 0:
        return "needs a python3 with torch (apt-get install python3-torch, or pip)"
    return ""


REASON = reason()


@pytest.mark.gpu
@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_worker_goes_on_with_all_that_was_on_its_gpu(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARK))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    from lab import Lab

    lab = Lab(tmp_path, CRIU)
    words = ("weights", "1", "7")
    with lab.worker(*words) as (box, _):
        captured, row = lab.capture(box)  # The source must say the same afterwards.
    assert row["memory_bytes"] > GIB
    restored = lab.restore(captured, row["state"], *words)  # It counts on, and the sums of all of its bits are as they were.
    assert {"fill", "gpu"} <= restored["phases"].keys()
    assert "plain" not in restored["phases"]


@pytest.mark.gpu
@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_what_a_worker_keeps_apart_is_loaded_by_the_agent(tmp_path, monkeypatch, caplog):
    monkeypatch.syspath_prepend(str(BENCHMARK))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    caplog.set_level(logging.INFO, "chrek_agent")
    from lab import Lab

    lab = Lab(tmp_path, CRIU)
    words = ("weights", "1", "7", "apart")
    with lab.worker(*words) as (box, _):
        captured, row = lab.capture_apart(box)
    for _ in range(2):
        lab.restore(captured, row["state"], *words)
    assert caplog.text.count("of GPU memory loaded beside the restore") == 2
