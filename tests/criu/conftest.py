"""One yard of light containers and one agent for all tests that really dump and restore."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from light_agent import CRIU, LightAgent
from light_container import Yard

REASON = next(
    (
        reason
        for missing, reason in (
            (os.geteuid() != 0, "needs root"),
            (shutil.which("runc") is None, "needs runc"),
            (not (CRIU / "usr/sbin/criu").exists(), "needs CRIU (scripts/install-criu)"),
        )
        if missing
    ),
    "",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.criu)
            item.add_marker(pytest.mark.skipif(bool(REASON), reason=REASON))


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
