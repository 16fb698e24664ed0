"""One yard of light containers and one agent for all tests that really dump and restore."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import criu_needs
from light_agent import LightAgent
from light_container import Yard


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    criu_needs.mark(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def light_state() -> Iterator[Path]:
    state = Path(tempfile.mkdtemp(prefix="chrek-light-", dir="/var/tmp"))
    yield state
    shutil.rmtree(state)


@pytest.fixture(scope="session")
def yard(light_state: Path) -> Iterator[Yard]:
    yard = Yard(light_state)
    yield yard
    yard.close()


@pytest.fixture
def agent(light_state: Path, request: pytest.FixtureRequest) -> Iterator[LightAgent]:
    """An agent with a store of its own."""
    state = light_state / f"agent-{abs(hash(request.node.nodeid)):x}"
    yield LightAgent.at(state)
    shutil.rmtree(state)


@pytest.fixture(scope="session")
def no_io_uring() -> dict[str, object]:
    """The seccomp profile that the chart ships."""
    profile = Path(__file__).parents[2] / "charts/chrek/files/seccomp-no-io-uring.json"
    return json.loads(profile.read_text())
