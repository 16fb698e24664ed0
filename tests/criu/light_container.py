"""Containers without a cluster: runc with the local node's own configuration, our shim as PID 1, a network with `lo` alone."""

import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container, find_container
from chrek_operator.shim import shim_archive
from kubectl_chrek.api import names
from kubectl_chrek.local.node import NodeConfig, cgroups, mounts, oci, security, snapshots

HASH = "5941a4cb3c363457"
PROGRAMS = Path(__file__).with_name("programs")
SECONDS = 20.0
"""How long anything here may take before its test fails."""
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a container differs from the plain one."""

    security: Mapping[str, Any] = field(default_factory=dict)
    """A Kubernetes securityContext."""
    seccomp: Mapping[str, Any] | None = None
    binds: tuple[oci.Bind, ...] = ()
    address: str = ""
    """An address of its own on `lo`, as a pod has its IP."""
    env: Mapping[str, str] = field(default_factory=dict)


PLAIN = Shape()


@dataclass(frozen=True, slots=True)
class Box:
    """A running container; `control` is its control directory, seen from the host."""

    container: Container
    pod: Mapping[str, Any]
    control: Path
    log: Path
    network: Path
    runtime: "subprocess.Popen[bytes]"
    """What started it and waits for its end."""

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ask(self, port: int, question: bytes, expected: bytes, seconds: float = 5.0) -> bytes:
        """What a server in the container answers, up to and with what is expected; OSError when that does not come."""

        def talk() -> bytes:
            answer = b""
            with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
                connection.sendall(question)
                while not re.search(expected, answer):
                    piece = connection.recv(65536)
                    if not piece:
                        raise ConnectionError(f"it said {answer[-200:]!r}")
                    answer += piece
            return answer

        return self.within_network(talk)

    def within_network(self, work: Callable[[], bytes]) -> bytes:
        """Does it with the container's network, in a thread that ends with it."""
        done: list[bytes] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                descriptor = os.open(self.network, os.O_RDONLY)
                try:
                    if _LIBC.setns(descriptor, 0) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(descriptor)
                done.append(work())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return done[0]

    def run(self, *command: str) -> str:
        """What a command says that runs with all of the container's namespaces."""
        enter = ["nsenter", "-t", str(self.container.init), "-a", "--", *command]
        return subprocess.run(enter, check=True, capture_output=True, text=True, timeout=SECONDS).stdout

    def others(self) -> list[processes.Process]:
        """All processes but PID 1 that are not dead."""
        members = processes.namespace_members(self.container.init)
        return [process for process in members if process.pid != self.container.init and process.state != "Z"]

    def waits(self) -> bool:
        return (self.control / "waiting").exists()

    def signal_init(self, number: int) -> None:
        os.kill(self.container.init, number)

    def exit_code(self) -> int:
        """Waits for the end of PID 1."""
        return self.runtime.wait(SECONDS)


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """The first true value; OSError counts as false."""
    deadline = time.monotonic() + SECONDS
    last: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except OSError as error:
            last = error
        time.sleep(0.01)
    raise AssertionError(f"{what or 'it'} did not happen within {SECONDS:g} s: {last}")


class Yard:
    """Where containers are made, and taken away again."""

    def __init__(self, state: Path) -> None:
        self.config = NodeConfig(state=state, cgroup_parent=f"/chrek-light-{state.name}")
        self.shim = state / names.SHIM_FILE
        self.shim.write_bytes(shim_archive())
        self.shim.chmod(0o755)
        self._available = security.permitted()
        self._runs: dict[str, subprocess.Popen[bytes]] = {}
        snapshots.prepare(self.config)

    def close(self) -> None:
        mounts.unmount_below(self.config.state)
        cgroups.remove(self.config.cgroup_root, self.config.cgroup_parent)
        cgroups.remove_parents(self.config)

    @contextlib.contextmanager
    def source(self, command: Sequence[str], shape: Shape = PLAIN) -> Iterator[Box]:
        """A container whose worker is to be captured."""
        env = {names.ENV_SIGNAL_FILE: f"{names.CONTROL_DIR}/{HASH}.done"}
        with self._container(command, shape, env) as box:
            yield box

    @contextlib.contextmanager
    def target(self, command: Sequence[str], shape: Shape = PLAIN) -> Iterator[Box]:
        """A container that waits to be restored."""
        with self._container(command, shape, {}) as box:
            until(box.waits, "the shim's waiting")
            yield box

    @contextlib.contextmanager
    def _container(self, command: Sequence[str], shape: Shape, env: Mapping[str, str]) -> Iterator[Box]:
        identifier = secrets.token_hex(32)
        network = f"chrek-t{identifier[:8]}"
        control = self.config.state / "control" / identifier
        log = self.config.state / f"{identifier}.log"
        control.mkdir(parents=True)
        control.chmod(0o777)
        pod = pod_of(identifier, command, shape.security)
        try:
            _network(network, shape.address)
            spec = self._spec(pod, identifier, network, control, shape, env)
            runc = self._start(identifier, spec, log)
            yield Box(find_container(pod, self.config.cgroup_root), pod, control, log, Path("/run/netns", network), runc)
        finally:
            self._remove(identifier, network)
            shutil.rmtree(control, ignore_errors=True)

    def _spec(
        self, pod: Mapping[str, Any], identifier: str, network: str, control: Path, shape: Shape, env: Mapping[str, str]
    ) -> dict[str, Any]:
        container = pod["spec"]["containers"][0]
        around = oci.Surroundings(
            root=snapshots.mount_root(self.config, identifier),
            hostname=identifier[:12],
            cgroup=f"{self.config.cgroup_parent}/{identifier}",
            unified_cgroups=cgroups.is_unified(self.config.cgroup_root),
            network=Path("/run/netns", network),
            available=self._available,
            binds=[
                oci.Bind(control, names.CONTROL_DIR),
                oci.Bind(self.shim, f"{names.SHIM_DIR}/{names.SHIM_FILE}", read_only=True),
                oci.Bind(PROGRAMS, str(PROGRAMS), read_only=True),
                *shape.binds,
            ],
        )
        shim = ["/usr/bin/python3", f"{names.SHIM_DIR}/{names.SHIM_FILE}", "--", *container["command"]]
        spec = oci.config(pod, container, shim, {**env, **shape.env}, around)
        if shape.seccomp:
            spec["linux"]["seccomp"] = dict(shape.seccomp)
        return spec

    def _start(self, identifier: str, spec: Mapping[str, Any], log: Path) -> "subprocess.Popen[bytes]":
        """Standard streams are pipes, as those of a real container; threads copy them into the log. runc waits for the end."""
        bundle = self.config.bundle(identifier)
        (bundle / "config.json").write_text(json.dumps(spec))
        command = ["runc", "--root", str(self.config.runc_root), "--log", str(bundle / "log"), "run", "--bundle", str(bundle)]
        reading, writing = os.pipe()
        other_reading, other_writing = os.pipe()
        runc = subprocess.Popen(
            [*command, "--pid-file", str(bundle / "pid"), identifier],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=other_writing,
            start_new_session=True,
        )
        self._runs[identifier] = runc
        for descriptor in (writing, other_writing):
            os.close(descriptor)
        for descriptor in (reading, other_reading):
            threading.Thread(target=copy, args=(descriptor, log), daemon=True).start()

        def started() -> bool:
            if runc.poll() is not None:
                raise AssertionError((bundle / "log").read_text())
            return find_running(bundle / "pid")

        until(started, "the container's start")
        return runc

    def _remove(self, identifier: str, network: str) -> None:
        runc = ["runc", "--root", str(self.config.runc_root), "delete", "--force", identifier]
        subprocess.run(runc, check=False, capture_output=True)
        if identifier in self._runs:
            self._runs.pop(identifier).wait(SECONDS)
        snapshots.remove_root(self.config, identifier)
        cgroups.remove(self.config.cgroup_root, f"{self.config.cgroup_parent}/{identifier}")
        subprocess.run(["ip", "netns", "del", network], check=False, capture_output=True)


def find_running(pid_file: Path) -> bool:
    """The container's PID 1 is past runc's own preparations."""
    pid = pid_file.read_text()
    return bool(pid) and b"runc" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0]


def copy(descriptor: int, log: Path) -> None:
    with log.open("ab", buffering=0) as file, os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while piece := pipe.read(65536):
            file.write(piece)


def _network(name: str, address: str) -> None:
    subprocess.run(["ip", "netns", "add", name], check=True)
    addresses = f"addr add {address}/32 dev lo\n" if address else ""
    subprocess.run(["ip", "-n", name, "-batch", "-"], input=f"link set lo up\n{addresses}".encode(), check=True)


def pod_of(identifier: str, command: Sequence[str], context: Mapping[str, Any]) -> dict[str, Any]:
    container = {"name": "main", "image": "localhost/host", "command": list(command), "securityContext": dict(context)}
    status = {"name": "main", "containerID": f"containerd://{identifier}", "state": {"running": {}}, "image": "localhost/host"}
    return {
        "metadata": {"name": f"p-{identifier[:8]}", "namespace": "light", "uid": identifier[:32]},
        "spec": {"containers": [container]},
        "status": {"containerStatuses": [status]},
    }


def accounts(box: Box) -> dict[str, Any] | None:
    """The newest account of each of two processes, once both have given one: lines of JSON that begin with `who`."""
    found = {}
    for line in box.output().splitlines():
        if line.startswith('{"who"'):
            account = json.loads(line)
            found[account.pop("who")] = account
    return found if len(found) == 2 else None
