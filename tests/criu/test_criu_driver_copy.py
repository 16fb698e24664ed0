"""The library that copies for the CUDA driver, in a worker that is captured: it comes back without its file."""

import os

import pytest
from light_container import PROGRAMS, Shape, until

from chrek_agent.container import processes
from chrek_operator.shim import driver_copy
from kubectl_chrek.api import names
from kubectl_chrek.local.node import oci

WORKER = ["/usr/bin/python3", str(PROGRAMS / "driver_thread.py")]
INSIDE = f"{names.SHIM_DIR}/{names.DRIVER_COPY_FILE}"


@pytest.fixture
def shape(tmp_path):
    if not driver_copy():
        pytest.skip("driver_copy-x86_64.so is not built: run scripts/build-native")
    library = tmp_path / names.DRIVER_COPY_FILE
    library.write_bytes(driver_copy())
    return Shape(binds=(oci.Bind(library, INSIDE, read_only=True),), env={names.ENV_DRIVER_COPY: "on"})


def copied(box):
    """What the worker says of its next copies: helpers that were there at once, and mappings of the library's file."""
    before = box.output().count("copied")
    (box.control / "copy").touch()
    until(lambda: box.output().count("copied") > before, "a copy")
    return [int(word) for word in box.output().split("copied")[-1].split()[:2]]


def test_it_is_restored_where_there_is_no_such_file(yard, agent, shape):
    with yard.source(WORKER, shape) as box:
        until(lambda: "ready 0" in box.output(), "a worker without a mapping of the library's file")
        helpers, mappings = copied(box)
        assert (helpers > 0) == (len(os.sched_getaffinity(0)) > 1)
        assert mappings == 0
        worker = next(one for one in processes.beside(box.container.init) if one.inner == 1001)
        assert INSIDE in (processes.PROC / str(worker.pid) / "environ").read_bytes().decode()
        artifact = agent.capture(box)
    with yard.target(WORKER) as box:
        agent.restore(box, artifact)
        assert copied(box) == [helpers, 0]
