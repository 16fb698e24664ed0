"""What all tests share: a clean environment, set before anything of ours is imported, and who of several workers runs what."""

import logging
import os
import signal
import sys
from collections.abc import Iterator

import pytest

for variable in ("NO_COLOR", "FORCE_COLOR", "TEXTUAL_THEME", "KUBECONFIG"):
    os.environ.pop(variable, None)
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["TZ"] = "UTC"
# Each of the hundreds of processes that tests start would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell's background job ignores these, and what a test starts would inherit that. A handler is not inherited.
for number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MACHINE = ("tests/criu/", "tests/e2e/", "tests/containerd/")
"""What looks at the whole machine, or shares one cluster: one worker runs it, and runs it first, since it waits most."""
LONG = ("tests/agent/", "tests/cluster/", "tests/tui/", "tests/release/")
"""Folders whose files take longest; what is short comes last, so that workers end at the same time."""


LONGEST_NAME = 64
COLLECTED = pytest.StashKey[frozenset[str]]()


def rank(nodeid: str) -> int:
    return 0 if nodeid.startswith(MACHINE) else 1 if nodeid.startswith(LONG) else 2


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    config.stash[COLLECTED] = frozenset(item.nodeid for item in items)
    yield
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Random bytes are no name for a test: workers have to agree on it."""
    return argname if isinstance(val, bytes) and len(val) > LONGEST_NAME else None


@pytest.fixture(scope="session")
def collected(pytestconfig: pytest.Config) -> frozenset[str]:
    """Names of all tests that were found where pytest was told to look, picked or not."""
    return pytestconfig.stash[COLLECTED]


@pytest.fixture(autouse=True)
def log_handlers() -> Iterator[None]:
    """A program that runs within a test logs to that test's stderr; later ones could not write there."""
    before = list(logging.root.handlers)
    yield
    for handler in logging.root.handlers[:]:
        if handler not in before:
            logging.root.removeHandler(handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Workers take tests file by file in our order, `MACHINE`, and what one real cluster has to bear, are as one file each."""
    from xdist.scheduler import LoadScopeScheduling

    together = [MACHINE, ("tests/cluster/",)] if "CHREK_TEST_KUBECONFIG" in os.environ else [MACHINE]

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folders[0] for folders in together if nodeid.startswith(folders)), nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return Scheduling(config, log)
