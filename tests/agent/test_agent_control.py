"""The control directory from outside: its owner, the container, is not trusted."""

import json
import os
import stat
from pathlib import Path

import pytest

from chrek_agent.container import control
from chrek_agent.errors import AgentError
from kubectl_chrek.api import names


@pytest.fixture
def container(make_container, signal_directory):
    return make_container()


def test_a_file_appears_whole_and_readable_by_all(container, signal_directory):
    old = os.umask(0o077)
    try:
        control.write(container, control.CLAIM, {"checkpoint": "x"})
    finally:
        os.umask(old)
    assert json.loads((signal_directory / "claim").read_text()) == {"checkpoint": "x"}
    assert stat.S_IMODE((signal_directory / "claim").stat().st_mode) == 0o644
    assert [path.name for path in signal_directory.iterdir()] == ["claim"]
    assert control.read(container, control.CLAIM) == {"checkpoint": "x"}


def test_a_file_is_replaced(container, signal_directory):
    control.write(container, "x.done", {"success": False})
    control.write(container, "x.done", {"success": True})
    assert control.read(container, "x.done") == {"success": True}
    assert [path.name for path in signal_directory.iterdir()] == ["x.done"]


def test_the_first_decision_stands(container, signal_directory):
    assert control.decide(container, {"result": "restored", "pid": 7})
    assert not control.decide(container, {"result": "cold", "reason": "late"})
    assert control.read(container, control.OUTCOME) == {"result": "restored", "pid": 7}
    assert [path.name for path in signal_directory.iterdir()] == ["outcome"]


def test_the_shim_may_be_first(container, signal_directory):
    (signal_directory / "outcome").write_text('{"result": "cold", "reason": "deadline"}')
    assert not control.decide(container, {"result": "restored", "pid": 7})
    assert control.read(container, control.OUTCOME) == {"result": "cold", "reason": "deadline"}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"7", b"\xff\xfe", b"[" * 60_000, b'{"a": "' + b"x" * 100_000 + b'"}'])
def test_what_is_not_ours_is_empty(container, signal_directory, content):
    (signal_directory / "outcome").write_bytes(content)
    assert control.read(container, control.OUTCOME) == {}


def test_no_file_is_none(container):
    assert control.read(container, control.OUTCOME) is None


def test_no_link_is_followed_in_reading(container, signal_directory, tmp_path):
    (tmp_path / "secret").write_text('{"password": "x"}')
    (signal_directory / "outcome").symlink_to(tmp_path / "secret")
    assert control.read(container, control.OUTCOME) is None
    assert not control.decide(container, {"result": "cold"})


@pytest.mark.parametrize("name", ["claim", "outcome"])
def test_no_link_is_followed_in_writing(container, signal_directory, tmp_path, name):
    target = tmp_path / "victim"
    target.write_text("untouched")
    (signal_directory / name).symlink_to(target)
    control.write(container, name, {"checkpoint": "x"})
    assert target.read_text() == "untouched"
    assert not (signal_directory / name).is_symlink()


def test_a_temporary_file_swapped_for_a_link_links_nothing_in(container, signal_directory, tmp_path, monkeypatch):
    target = tmp_path / "victim"
    target.write_text("untouched")
    link = os.link

    def swapped(source, *args, **kwargs):
        (signal_directory / source).unlink()
        (signal_directory / source).symlink_to(target)
        link(source, *args, **kwargs)

    monkeypatch.setattr(os, "link", swapped)
    control.decide(container, {"result": "cold"})
    assert target.stat().st_nlink == 1


def test_a_link_in_place_of_the_directory_is_refused(container, signal_directory, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    signal_directory.rmdir()
    signal_directory.symlink_to(elsewhere)
    for call in (
        lambda: control.write(container, control.CLAIM, {}),
        lambda: control.decide(container, {}),
        lambda: control.read(container, control.CLAIM),
    ):
        with pytest.raises(AgentError, match="no control directory"):
            call()
    assert list(elsewhere.iterdir()) == []


def test_a_container_without_the_directory_is_named(container, signal_directory):
    signal_directory.rmdir()
    with pytest.raises(AgentError, match=f"container main has no control directory {names.CONTROL_DIR}: No such file"):
        control.read(container, control.WAITING)


def test_directories_and_fifos_are_not_read_and_leak_no_descriptor(container, signal_directory):
    (signal_directory / "outcome").mkdir()
    os.mkfifo(signal_directory / "waiting")
    writer = os.open(signal_directory / "waiting", os.O_RDWR)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert control.read(container, "outcome") == {}
    assert control.read(container, "waiting") == {}
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(writer)


def test_content_that_cannot_be_written_leaves_nothing(container, signal_directory):
    with pytest.raises(TypeError):
        control.write(container, control.CLAIM, {"checkpoint": object()})
    assert list(signal_directory.iterdir()) == []
