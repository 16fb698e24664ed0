"""When the fast way of a dump is not even tried."""

import resource
from pathlib import Path

import pytest

from chrek_agent.container.discovery import Container
from chrek_agent.criu.runner import Criu
from chrek_agent.memory import take as module
from chrek_agent.memory.take import Take

GIB = 1 << 30


@pytest.fixture
def node(monkeypatch, tmp_path):
    """A node without CAP_SYS_RESOURCE, that allows for 20000 open files and for pipes of so many bytes."""

    def prepare(pipe):
        limit = tmp_path / "pipe-max-size"
        limit.write_text(f"{pipe}\n")
        monkeypatch.setattr(module, "_PIPE_LIMIT", limit)
        monkeypatch.setattr(module, "_may_raise_limits", lambda: False)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20000))

    return prepare


def obstacle(resident):
    container = Container("c", "main", 1, 1, ())
    take = Take(Criu(Path("/nowhere")), container, 2, Path("/nowhere"), 1.0, lambda _: None, resident, lambda _: None)
    return take._obstacle()


@pytest.mark.parametrize(
    ("pipe", "resident", "said"),
    [
        (1 << 20, 9 * GIB, ""),
        (1 << 20, 17 * GIB, "it would need 35328 open files, and 20000 are allowed"),
        (4 << 20, 17 * GIB, ""),
        (64 << 20, 48 * GIB, "it would need 25088 open files, and 20000 are allowed"),
    ],
)
def test_memory_needs_as_many_files_as_pipes_are_short(node, pipe, resident, said):
    node(pipe)
    assert obstacle(resident) == said


def test_who_may_raise_limits_has_none(node, monkeypatch):
    node(1 << 20)
    monkeypatch.setattr(module, "_may_raise_limits", lambda: True)
    assert not obstacle(500 * GIB)
