"""What an agent finds out about its node."""

import os
import sys
from types import SimpleNamespace

import pytest

from chrek_agent.config import AgentConfig
from chrek_agent.node import checks
from kubectl_chrek.api.compatibility import Gpu


def test_a_node_is_checked_as_a_whole(tmp_path):
    config = AgentConfig(node="n", base_path=tmp_path, state=tmp_path, cgroup_root=tmp_path / "none")
    found = {check.name: check for check in checks.node_checks(config, "4.2.1", 0.5)}
    names = [
        "criu",
        "kernel",
        "privileges",
        "cgroups",
        "store",
        "space",
        "sharing",
        "state",
        "huge-pages",
        "io-uring",
        "gpu",
        "clock",
    ]
    assert list(found) == names
    assert all(check.message for check in found.values())
    assert found["cgroups"].verdict == "fail"
    assert list(tmp_path.iterdir()) == []
    assert "clock" not in {check.name for check in checks.node_checks(config, "", None)}


@pytest.mark.parametrize(("version", "verdict"), [("4.2.1", "ok"), ("4.1", "ok"), ("3.17.1", "warn"), ("", "fail")])
def test_criu(version, verdict, tmp_path):
    check = checks.check_criu(version, tmp_path)
    assert check.verdict == verdict
    assert bool(check.fix) is (verdict != "ok")


def test_a_store_that_cannot_be_written(tmp_path):
    check = checks.check_store(tmp_path / "missing")
    assert (check.verdict, "cannot be written: No such file or directory" in check.message) == ("fail", True)
    assert checks.check_state(tmp_path / "missing").verdict == "fail"


@pytest.mark.parametrize(("free", "verdict"), [(50, "ok"), (9, "warn")])
def test_room(free, verdict, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": free << 30, "total": 100 << 30})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage)
    check = checks.check_space(tmp_path)
    assert (check.verdict, check.message) == (verdict, f"{free}.0 GiB of 100.0 GiB free")


@pytest.mark.parametrize(
    ("kind", "verdict", "part"), [("nfs4", "ok", "is on nfs4"), ("ext4", "ok", "restored here only"), ("tmpfs", "warn", "lost")]
)
def test_who_can_see_the_store(kind, verdict, part, tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(
        f"1 0 8:1 / / rw - overlay o rw\n2 1 8:2 / {tmp_path} rw shared:1 - {kind} x rw\n3 1 8:3 / {tmp_path}er rw - xfs x rw\n"
    )
    monkeypatch.setattr(checks, "_MOUNTS", table)
    check = checks.check_sharing(tmp_path)
    assert (check.verdict, part in check.message) == (verdict, True)


def test_huge_pages_and_io_uring(tmp_path, monkeypatch):
    thp, ring = tmp_path / "enabled", tmp_path / "io_uring_disabled"
    monkeypatch.setattr(checks, "_THP", thp)
    monkeypatch.setattr(checks, "_IO_URING", ring)
    assert checks.check_thp().verdict == "warn"
    thp.write_text("always madvise [never]\n")
    assert checks.check_thp().verdict == "warn"
    thp.write_text("always [madvise] never\n")
    assert checks.check_thp().message == "transparent huge pages: madvise"
    ring.write_text("2\n")
    assert checks.check_io_uring().fix == ""
    ring.write_text("0\n")
    assert "seccomp" in checks.check_io_uring().fix


@pytest.mark.parametrize(
    ("driver", "able", "bindings", "verdict"),
    [
        (None, None, False, "ok"),
        ("535.1", None, True, "fail"),
        ("580.65.06", None, False, "fail"),
        ("580.65.06", False, True, "fail"),
        ("535.1", True, True, "warn"),
        ("570.1", None, True, "warn"),
        ("580.65.06", None, True, "ok"),
    ],
)
def test_the_gpus_driver(driver, able, bindings, verdict, monkeypatch):
    with_driver(monkeypatch, driver, able, bindings=bindings)
    assert checks.check_gpus().verdict == verdict


def with_driver(monkeypatch, driver, able, *, bindings=True):
    monkeypatch.setattr(checks.gpus, "driver_version", lambda *_: driver)
    monkeypatch.setattr(checks.gpus, "can_checkpoint", lambda: able)
    modules = {name: type(sys)(name) if bindings else None for name in ("cuda", "cuda.bindings", "cuda.bindings.driver")}
    if bindings:
        modules["cuda"].bindings, modules["cuda.bindings"].driver = modules["cuda.bindings"], modules["cuda.bindings.driver"]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_divided_gpus_are_named(monkeypatch):
    with_driver(monkeypatch, "580.65.06", True)
    monkeypatch.setattr(checks.gpus, "node_gpus", lambda: ({0: Gpu(), 1: Gpu(mig="enabled"), 3: Gpu(mig="enabled")}, None))
    check = checks.check_gpus()
    assert (check.verdict, "GPU 1, 3 divided (MIG)" in check.message) == ("warn", True)


def test_the_drivers_library_is_asked_for_its_calls(monkeypatch):
    assert checks.gpus.can_checkpoint("no-such-library.so") is None
    assert checks.gpus.can_checkpoint("libc.so.6") is False
    monkeypatch.setattr(checks.gpus.ctypes, "CDLL", lambda _: SimpleNamespace(cuCheckpointProcessLock=1))
    assert checks.gpus.can_checkpoint() is True


@pytest.mark.parametrize(("skew", "verdict"), [(0.4, "ok"), (-9.0, "ok"), (11.0, "warn"), (-3600.0, "warn")])
def test_the_clock(skew, verdict):
    assert checks.check_clock(skew).verdict == verdict


def test_an_older_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_PIDS", tmp_path / "none")
    assert "CONFIG_CHECKPOINT_RESTORE" in checks.check_kernel().message


def test_an_agent_without_rights(tmp_path, monkeypatch, as_root):
    monkeypatch.setattr(checks, "_CAPABILITIES", {"IMPOSSIBLE": 63})
    assert checks.check_privileges().message == "the agent lacks IMPOSSIBLE"
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "cgroup.controllers").touch()
    assert checks.check_cgroups(tmp_path).message == f"cgroup v2 at {tmp_path}"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert checks.check_cgroups(tmp_path).verdict == "fail"
