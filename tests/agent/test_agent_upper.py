"""Where a container's changes lie, and that they are not taken for none when the agent cannot see them."""

import os

import pytest

from chrek_agent.container import rootfs
from chrek_agent.errors import CaptureError

OVERLAY = "652 601 0:78 / / rw,relatime - overlay overlay rw,lowerdir=/r/1/fs:/r/2/fs,upperdir={upper},workdir=/r/3/work"
OTHERS = "653 652 0:79 / /proc rw - proc proc rw\n654 652 0:80 / /mnt rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c"


def test_the_upper_directory_is_the_roots():
    assert rootfs.find_upper(f"{OTHERS}\n{OVERLAY.format(upper='/r/3/fs')}") == rootfs.Path("/r/3/fs")
    assert rootfs.find_upper(OTHERS) is None


def test_a_directory_that_the_agent_does_not_see_is_an_error(make_container, tmp_path, monkeypatch):
    container = make_container(init=os.getpid())
    upper = tmp_path / "fs"
    monkeypatch.setattr(rootfs, "find_upper", lambda _: upper)
    with pytest.raises(CaptureError, match="runtimeRoots"):
        rootfs.upper_directory(container)
    upper.mkdir()
    assert rootfs.upper_directory(container) == upper
