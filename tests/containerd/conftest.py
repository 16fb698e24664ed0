"""A containerd of our own with runc and an image made from this machine's Python; nothing of it outlives the tests."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "criu"))
sys.path.append(str(Path(__file__).parent))

from containerd_node import ContainerdNode
from light_agent import CRIU, LightAgent

REASON = next(
    (
        reason
        for missing, reason in (
            (os.geteuid() != 0, "needs root"),
            (shutil.which("runc") is None, "needs runc"),
            (shutil.which("containerd") is None or shutil.which("ctr") is None, "needs containerd (apt-get install containerd)"),
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
