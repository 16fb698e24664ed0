"""containerd and ctr, driven as a kubelet's containers are made: images imported, unprivileged, overlay snapshots, runc."""

import contextlib
import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from light_container import HASH, PROGRAMS, SECONDS, Box, copy, pod_of, until

from chrek_agent.container.discovery import find_container
from chrek_operator.shim import shim_archive
from kubectl_chrek.api import names
from kubectl_chrek.local.node import cgroups, mounts

IMAGE = "chrek.test/python:latest"
PYTHON = "/usr/bin/python3"
_CONFIG = """
version = 2
root = "{state}/root"
state = "{state}/run"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{state}/containerd.sock"
"""
_LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "unittest", "pydoc_data", "__pycache__", "dist-packages"}


class ContainerdNode:
    """One containerd with all its directories below `state`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.shim = state / names.SHIM_FILE
        self.shim.write_bytes(shim_archive())
        self._parent = f"chrek-{state.name}"
        self._ctr = ["ctr", "--address", str(state / "containerd.sock"), "--namespace", "k8s.io"]
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.state / "config.toml"
        config.write_text(_CONFIG.format(state=self.state))
        with (self.state / "containerd.log").open("wb") as log:
            command = ["containerd", "--config", str(config)]
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(lambda: subprocess.run([*self._ctr, "version"], capture_output=True, check=False).returncode == 0, "containerd")
        write_image(self.state / "image.tar")
        self.run("images", "import", str(self.state / "image.tar"))

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(SECONDS)
        mounts.unmount_below(self.state)
        for hierarchy in cgroups.hierarchies(Path("/sys/fs/cgroup")):
            with contextlib.suppress(OSError):
                (hierarchy / self._parent).rmdir()

    def run(self, *words: str) -> str:
        done = subprocess.run([*self._ctr, *words], check=False, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"ctr {' '.join(words)}: {done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def source(self, command: Sequence[str]) -> Iterator[Box]:
        with self._container(command, {names.ENV_SIGNAL_FILE: f"{names.CONTROL_DIR}/{HASH}.done"}) as box:
            yield box

    @contextlib.contextmanager
    def target(self, command: Sequence[str]) -> Iterator[Box]:
        with self._container(command, {}) as box:
            until(box.waits, "the shim's waiting")
            yield box

    @contextlib.contextmanager
    def _container(self, command: Sequence[str], env: Mapping[str, str]) -> Iterator[Box]:
        identifier = secrets.token_hex(32)
        control = self.state / "control" / identifier
        control.mkdir(parents=True)
        log = self.state / f"{identifier}.log"
        run = ["run", "--snapshotter", "overlayfs", "--cgroup", f"/{self._parent}/{identifier}", "--seccomp"]
        for source, target, mode in (
            (control, names.CONTROL_DIR, "rw"),
            (self.shim, f"{names.SHIM_DIR}/{names.SHIM_FILE}", "ro"),
            (PROGRAMS, str(PROGRAMS), "ro"),
        ):
            run += ["--mount", f"type=bind,src={source},dst={target},options=rbind:{mode}"]
        run += ["--mount", "type=tmpfs,src=shm,dst=/dev/shm,options=nosuid:nodev:mode=1777"]
        run += [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
        words = [*self._ctr, *run, IMAGE, identifier, PYTHON, f"{names.SHIM_DIR}/{names.SHIM_FILE}", "--", *command]
        ctr = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert ctr.stdout is not None
        threading.Thread(target=copy, args=(os.dup(ctr.stdout.fileno()), log), daemon=True).start()
        pod = pod_of(identifier, command, {})
        try:
            pid = until(lambda: self._running(identifier, ctr, log), "the container's start")
            subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "link", "set", "lo", "up"], check=True)
            container = find_container(pod, Path("/sys/fs/cgroup"))
            assert container.init == pid
            yield Box(container, pod, control, log, Path(f"/proc/{pid}/ns/net"), ctr)
        finally:
            with contextlib.suppress(AssertionError):
                self.run("tasks", "kill", "--signal", "SIGKILL", "--all", identifier)
            ctr.wait(SECONDS)
            ctr.stdout.close()
            with contextlib.suppress(AssertionError):
                self.run("containers", "delete", identifier)

    def _running(self, identifier: str, ctr: "subprocess.Popen[bytes]", log: Path) -> int:
        if ctr.poll() is not None:
            raise AssertionError(log.read_text())
        for line in self.run("tasks", "list").splitlines():
            words = line.split()
            if words[0] == identifier and words[2] == "RUNNING":
                return int(words[1])
        return 0


def write_image(path: Path) -> None:
    """A docker archive with one layer: this machine's Python and what it is linked against."""
    layer = path.with_name("layer.tar")
    with tarfile.open(layer, "w") as tar:
        for directory in ("proc", "sys", "dev", "etc", "tmp", "run", "srv", "var/tmp"):
            member = tarfile.TarInfo(directory)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if directory.endswith("tmp") else 0o755
            tar.addfile(member)
        for name in sorted(_files()):
            tar.add(os.path.realpath(name), arcname=name.lstrip("/"), recursive=False)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for name, content in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        tar.add(layer, arcname="layer.tar")
    layer.unlink()


def _files() -> set[str]:
    version = subprocess.run(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"], check=True, capture_output=True, text=True
    )
    library = Path(version.stdout.strip())
    found = {PYTHON, "/bin/sh", "/bin/sleep"}
    for parent, directories, files in os.walk(library):
        directories[:] = [name for name in directories if name not in _LEFT_OUT]
        found |= {str(Path(parent, name)) for name in files}
    for program in [name for name in found if name in (PYTHON, "/bin/sh", "/bin/sleep") or ".so" in name]:
        listing = subprocess.run(["ldd", program], check=False, capture_output=True, text=True).stdout
        found |= {word for word in listing.split() if word.startswith("/")}
    return found
