"""What a container changed in its files, taken from outside and repeated inside another."""

import os
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from chrek_agent.container import rootfs
from chrek_agent.errors import RestoreError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def upper(tmp_path):
    path = tmp_path / "upper"
    path.mkdir()
    return path


class Target:
    """A chroot directory that plays a fresh container's root."""

    def __init__(self, tmp_path, container, monkeypatch):
        self.tar = tmp_path / "rootfs.tar"
        self.root = tmp_path / "target"
        self.root.mkdir()
        self._container = container
        self.mounts = []
        monkeypatch.setattr(type(container), "root", property(lambda _: self.root))
        monkeypatch.setattr(rootfs, "mount_points", lambda _: self.mounts)

    async def unpack(self, deleted=(), marker="", folder="/"):
        await rootfs.unpack(self._container, deleted=deleted, tars=[(self.tar, folder)], marker=marker)

    async def repeat(self, upper, marker=""):
        await self.unpack(rootfs.pack_upper(upper, self.tar), marker)


@pytest.fixture
def target(tmp_path, make_container, monkeypatch):
    return Target(tmp_path, make_container(), monkeypatch)


def names_in(path):
    with tarfile.open(path) as tar:
        return sorted(tar.getnames())


async def test_files_come_back_as_they_were(upper, target):
    (upper / "bin").mkdir(mode=0o711)
    (upper / "bin").chmod(0o2711)
    tool = upper / "bin" / "tool"
    tool.write_bytes(b"\x7fELF")
    os.chown(tool, 1234, 5678)
    tool.chmod(0o4755)
    os.utime(tool, (1_000_000_000, 1_000_000_000))
    (upper / "link").symlink_to("/etc/../bin/tool")
    (upper / "dangling").symlink_to("nowhere")
    os.link(tool, upper / "bin" / "same")
    os.mkfifo(upper / "fifo", 0o600)
    await target.repeat(upper)
    root = target.root
    found = (root / "bin" / "tool").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime) == (0o4755, 1234, 5678, 1_000_000_000)
    assert (root / "bin" / "tool").read_bytes() == b"\x7fELF"
    assert stat.S_IMODE((root / "bin").stat().st_mode) == 0o2711
    assert (root / "bin" / "same").stat().st_ino == found.st_ino
    assert (root / "link").readlink() == Path("/etc/../bin/tool")
    assert (root / "dangling").readlink() == Path("nowhere")
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)


async def test_a_hard_link_replaces_the_files_of_the_image(upper, target):
    (upper / "a").write_text("new")
    os.link(upper / "a", upper / "b")
    for name in ("a", "b"):
        (target.root / name).write_text("old")
    await target.repeat(upper)
    assert (target.root / "b").read_text() == "new"
    assert (target.root / "a").stat().st_ino == (target.root / "b").stat().st_ino


def test_sockets_are_left_out(upper, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(upper / "socket"))
        (upper / "file").touch()
        rootfs.pack_upper(upper, tmp_path / "x.tar")
    assert names_in(tmp_path / "x.tar") == ["file"]


async def test_what_was_deleted_is_deleted_again(upper, target):
    (upper / "etc").mkdir()
    os.mknod(upper / "etc" / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(upper / "gone-directory", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert sorted(rootfs.pack_upper(upper, target.tar)) == ["etc/gone", "gone-directory"]
    assert names_in(target.tar) == ["etc", "null"]
    (target.root / "etc").mkdir()
    (target.root / "etc" / "gone").touch()
    (target.root / "etc" / "stays").touch()
    (target.root / "gone-directory" / "deep").mkdir(parents=True)
    await target.repeat(upper)
    assert sorted(str(path.relative_to(target.root)) for path in target.root.rglob("*")) == ["etc", "etc/stays", "null"]
    assert (target.root / "null").stat().st_rdev == os.makedev(1, 3)


async def test_an_opaque_directory_hides_what_the_image_has(upper, target):
    (upper / "data").mkdir()
    (upper / "data" / "new").touch()
    try:
        os.setxattr(upper / "data", "trusted.overlay.opaque", b"y")
    except OSError:
        pytest.skip("the temporary folder takes no trusted attributes")
    (target.root / "data" / "old").mkdir(parents=True)
    await target.repeat(upper)
    assert [path.name for path in (target.root / "data").iterdir()] == ["new"]


async def test_a_file_takes_the_place_of_a_directory_and_the_other_way_round(upper, target):
    (upper / "was-directory").write_text("file")
    (upper / "was-file").mkdir()
    (upper / "was-file" / "inside").touch()
    (upper / "was-link").mkdir()
    (upper / "stays").mkdir()
    (target.root / "was-directory" / "deep").mkdir(parents=True)
    (target.root / "was-file").touch()
    (target.root / "elsewhere").mkdir()
    (target.root / "was-link").symlink_to("elsewhere")
    (target.root / "stays").mkdir()
    (target.root / "stays" / "of-the-image").touch()
    await target.repeat(upper)
    assert (target.root / "was-directory").read_text() == "file"
    assert (target.root / "was-file" / "inside").exists()
    assert not (target.root / "was-link").is_symlink()
    assert (target.root / "stays" / "of-the-image").exists()


async def test_no_link_of_the_container_leads_outside(upper, target, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("untouched")
    (target.root / "etc").symlink_to(outside)
    (target.root / "up").symlink_to("../outside")
    for name in ("etc", "up"):
        with tarfile.open(target.tar, "w") as tar:
            tar.add("/dev/null", arcname=f"{name}/keep", filter=regular)
        with pytest.raises(RestoreError):
            await target.unpack(deleted=[f"{name}/keep"])
    assert (outside / "keep").read_text() == "untouched"
    assert [path.name for path in outside.iterdir()] == ["keep"]


def regular(member):
    member.type = tarfile.REGTYPE
    return member


async def test_the_marker_is_made_last_and_inside(upper, target):
    (target.root / "tmp").mkdir()
    (upper / "file").touch()
    await target.repeat(upper, marker="/tmp/dynamo-restored-here")
    assert (target.root / "tmp" / "dynamo-restored-here").exists()
    assert not Path("/tmp/dynamo-restored-here").exists()


async def test_what_fails_is_one_line(upper, target):
    (upper / "file").touch()
    with pytest.raises(RestoreError) as caught:
        await target.repeat(upper, marker="/no/such/folder/marker")
    assert "could not be repeated: FileNotFoundError" in str(caught.value)
    assert "/no/such/folder/marker" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_damaged_tar_is_a_restore_error(target):
    target.tar.write_bytes(b"x" * 2048)
    with pytest.raises(RestoreError, match="could not be repeated: ReadError"):
        await target.unpack()


async def test_no_warning_is_said_on_any_python(upper, target, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    (upper / "absolute").symlink_to("/etc/passwd")
    (upper / "file").touch()
    await target.repeat(upper)
    assert (target.root / "absolute").readlink() == Path("/etc/passwd")


def test_what_is_hidden_by_a_mount_is_not_taken(upper, tmp_path):
    for name in ("etc/hosts", "etc/own", "models/hidden", "models-of-mine/own"):
        (upper / name).parent.mkdir(exist_ok=True)
        (upper / name).touch()
    os.mknod(upper / "var", stat.S_IFCHR, os.makedev(0, 0))
    assert rootfs.pack_upper(upper, tmp_path / "x.tar", ["/etc/hosts", "/models", "/var"]) == []
    assert names_in(tmp_path / "x.tar") == ["etc", "etc/own", "models-of-mine", "models-of-mine/own"]


async def test_the_mounts_of_the_target_are_not_touched(upper, target):
    (upper / "etc").mkdir()
    for name in ("hosts", "own"):
        (upper / "etc" / name).write_text("of the source")
    (target.root / "etc").mkdir()
    (target.root / "etc" / "hosts").write_text("of the pod")
    (target.root / "data" / "volume").mkdir(parents=True)
    (target.root / "data" / "volume" / "model").touch()
    (target.root / "data" / "image").touch()
    target.mounts = ["/data/volume", "/etc/hosts"]
    rootfs.pack_upper(upper, target.tar)
    await target.unpack(deleted=["data", "etc/hosts", "data/volume/model"])
    assert (target.root / "etc" / "hosts").read_text() == "of the pod"
    assert (target.root / "etc" / "own").read_text() == "of the source"
    assert sorted(path.name for path in (target.root / "data").rglob("*")) == ["model", "volume"]


async def test_a_folder_that_is_a_mount_is_unpacked_into(upper, target):
    (upper / "segment").write_text("shared memory")
    (target.root / "dev" / "shm").mkdir(parents=True)
    target.mounts = ["/dev", "/dev/shm"]
    rootfs.pack_upper(upper, target.tar)
    await target.unpack(folder="/dev/shm")
    assert (target.root / "dev" / "shm" / "segment").read_text() == "shared memory"


def test_mount_points_are_read_from_the_kernel(pid_namespace, make_container):
    namespace = pid_namespace("print('ready', flush=True); import signal; signal.pause()")
    container = make_container(namespace.init)
    points = rootfs.mount_points(container)
    assert "/proc" in points
    assert "/" not in points


def test_shared_memory_behind_a_link_is_not_followed(tmp_path, make_container, monkeypatch):
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (root / "dev" / "shm").symlink_to("/dev/shm")
    container = make_container()
    monkeypatch.setattr(type(container), "root", property(lambda _: root))
    rootfs.pack_shm(container, tmp_path / "shm.tar")
    assert names_in(tmp_path / "shm.tar") == []
