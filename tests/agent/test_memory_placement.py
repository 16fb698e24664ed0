"""Fillers run where the worker's memory is to be."""

import os
import subprocess
import sys

import pytest

from chrek_agent.memory.placement import near, parse_processors


@pytest.fixture
def nodes(tmp_path):
    """A machine of these nodes."""

    def make(*lists):
        for number, processors in enumerate(lists):
            (tmp_path / f"node{number}").mkdir()
            (tmp_path / f"node{number}" / "cpulist").write_text(f"{processors}\n")
        (tmp_path / "possible").write_text("0\n")
        return tmp_path

    return make


@pytest.fixture
def bound():
    """A process that runs on one of our processors only, and which."""
    first = min(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        os.sched_setaffinity(child.pid, {first})
        yield child.pid, first
        child.kill()


@pytest.mark.parametrize(
    ("text", "processors"), [("0-3,8\n", {0, 1, 2, 3, 8}), ("5\n", {5}), ("\n", set()), ("0-1,4-5\n", {0, 1, 4, 5})]
)
def test_lists_are_read_as_the_kernel_writes_them(text, processors):
    assert parse_processors(text) == processors


def test_a_worker_on_one_node_has_fillers_there(nodes, bound):
    pid, first = bound
    assert near(pid, nodes("1000-1003", f"{first},2000")) == {first}


def test_a_worker_that_may_run_anywhere_has_them_anywhere(nodes, bound):
    assert near(bound[0], nodes("1000-1003", "1004")) == set()


@pytest.mark.parametrize("lists", [("{first}-{first}",), ("{first}", "")])
def test_one_node_makes_no_difference(nodes, bound, lists):
    pid, first = bound
    assert near(pid, nodes(*(text.format(first=first) for text in lists))) == set()


def test_what_nobody_says_makes_no_difference(nodes, bound, tmp_path):
    pid, first = bound
    assert near(pid, tmp_path / "nothing") == set()
    assert near(2**22 - 1, nodes(f"{first}", "1000")) == set()
    (tmp_path / "node1" / "cpulist").write_text("no list\n")
    assert near(pid, tmp_path) == set()
