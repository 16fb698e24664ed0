"""What cannot be captured is found before anything is frozen, and said in one line."""

import errno
import socket

import pytest
from light_container import PROGRAMS, Shape, until

from chrek_agent.errors import CaptureError
from kubectl_chrek.local.node import security
from kubectl_chrek.local.node.oci import Bind

PRIVILEGED = Shape(security={"privileged": True})


def command(name):
    return ["/usr/bin/python3", str(PROGRAMS / "hopeless.py"), name]


def states(box):
    return {process.inner: process.state for process in box.others()}


def ready(box):
    def said():
        if "Error" in box.output():
            pytest.skip(f"this kernel does not let it: {box.output().strip().splitlines()[-1]}")
        return "ready" in box.output()

    until(said, box.output())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("io_uring", "uses io_uring, which CRIU cannot dump: block it by seccomp, or set UV_USE_IO_URING=0 or USE_LIBUV=0"),
        ("perf_event", "uses a perf event"),
        ("userfaultfd", "uses a userfaultfd"),
        ("bpf", "uses a BPF program or map"),
        ("landlock", "uses a Landlock rule set"),
        ("message_queue", "uses POSIX message queue /chrek-queue"),
        ("fuse", "uses /dev/fuse"),
        ("pid_namespace", "has children in a PID namespace of their own"),
        ("mount_namespace", "has a mnt namespace of its own"),
        ("traced", "is being traced by process"),
        ("daemon", "processes have left the worker's tree and cannot be captured with it: python3"),
        ("full_buffers", "bytes wait in connections between the worker's processes: capture it while it is idle"),
    ],
)
def test_what_cannot_be_captured_is_said_and_left_alone(yard, agent, name, expected):
    with yard.source(command(name), PRIVILEGED) as box:
        ready(box)
        before = states(box)
        with pytest.raises(CaptureError) as caught:
            agent.capture(box)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
        assert states(box).keys() == before.keys()
        assert set(states(box).values()) & {"T", "t"} == set(before.values()) & {"T", "t"}
        assert agent.remains() == []


def test_a_socket_to_somebody_outside_is_said(yard, agent, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "outer"))
        listener.listen()
        with yard.source(command("outer_socket"), Shape(binds=(Bind(tmp_path, "/srv"),))) as box:
            ready(box)
            end, _ = listener.accept()
            with end, pytest.raises(CaptureError, match="is connected to a unix socket of a process outside its tree"):
                agent.capture(box)


def test_a_file_on_a_mount_that_is_gone_is_said(yard, agent, tmp_path):
    (tmp_path / "file").touch()
    shape = Shape(security={"privileged": True}, binds=(Bind(tmp_path, "/srv"),))
    with yard.source(command("unmounted"), shape) as box:
        ready(box)
        with pytest.raises(CaptureError, match="on a file system that is not mounted in its container"):
            agent.capture(box)


def test_a_root_that_cannot_be_written_needs_a_volume_for_tmp(yard, agent):
    with yard.source(command("nothing"), Shape(security={"readOnlyRootFilesystem": True})) as box:
        ready(box)
        with pytest.raises(CaptureError, match="has no /tmp that can be written, as CRIU has to: mount an emptyDir there"):
            agent.capture(box)


def test_another_user_needs_a_capability_of_the_agent(yard, agent):
    if "SYS_RESOURCE" in security.permitted():
        pytest.skip("this agent has CAP_SYS_RESOURCE")
    # A checkout may lie where another user cannot read.
    with yard.source(["/bin/sh", "-c", "echo begun; while :; do sleep 0.05; done"], Shape(security={"runAsUser": 1234})) as box:
        until(lambda: "begun" in box.output())
        with pytest.raises(CaptureError, match="runs as another user, for which the agent needs CAP_SYS_RESOURCE"):
            agent.capture(box)


def test_io_uring_is_blocked_by_the_profile_that_ships(yard, no_io_uring):
    with yard.source(command("io_uring"), Shape(seccomp=no_io_uring)) as box:
        until(lambda: "OSError" in box.output())
        assert f"[Errno {errno.ENOSYS}]" in box.output()
