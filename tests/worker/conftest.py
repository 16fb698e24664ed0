"""Engines to ask, and a control directory."""

import sys
from pathlib import Path

import pytest

from chrek_worker.adapters.contract import Worker
from chrek_worker.control import ControlDirectory

sys.path.append(str(Path(__file__).parent))
from recorded_engines import ENGINES


@pytest.fixture
def engine():
    """Starts one of the servers above, by name."""
    started = []

    def start(name, **options):
        found = ENGINES[name](**options)
        started.append(found)
        return found

    yield start
    for found in started:
        found.stop()


@pytest.fixture
def control(tmp_path):
    return ControlDirectory(str(tmp_path))


@pytest.fixture
def worker_of():
    """The worker whose server listens there."""

    def build(server, *command, **fields):
        return Worker([*command, "--port", str(server.port)], environment=fields.pop("environment", {}), **fields)

    return build
