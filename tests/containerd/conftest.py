"""A containerd of our own with runc and an image made from this machine's Python; nothing of it outlives the tests."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "criu"))
sys.path.append(str(Path(__file__).parent))

import criu_needs
from containerd_node import ContainerdNode
from light_agent import LightAgent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    criu_needs.mark(items, Path(__file__).parent, "containerd")


@pytest.fixture(scope="session")
def node() -> Iterator[ContainerdNode]:
    state = Path(tempfile.mkdtemp(prefix="chrek-containerd-", dir="/var/tmp"))
    node = ContainerdNode(state)
    try:
        node.start()
        yield node
    finally:
        node.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(state)], check=True)


@pytest.fixture
def agent(node: ContainerdNode) -> LightAgent:
    return LightAgent.at(node.state / "agent")
