"""What a capture depends on, read from processes, cgroups and the driver; and the gate that compares it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from chrek_agent.container import processes
from chrek_agent.errors import IncompatibleError
from chrek_agent.node import facts, gpus
from chrek_agent.node.gate import Gate
from kubectl_chrek.api.compatibility import Compatibility, Gpu

POD = {
    "metadata": {"name": "p", "annotations": {}},
    "status": {"containerStatuses": [{"name": "main", "imageID": "docker.io/x@sha256:aa"}, {"name": "other", "imageID": "o"}]},
}


@pytest.fixture
def worker():
    """A process with the shim's command line and an engine's environment."""
    environment = {
        "PATH": os.environ["PATH"],
        "VLLM_USE_V1": "1",
        "VLLM_API_KEY": "hidden",
        "NCCL_DEBUG": "WARN",
        "CUDA_VISIBLE_DEVICES": "0",
        "VLLM_SERVICE_HOST": "10.0.0.1",
        "VLLM_PORT_8000_TCP_ADDR": "10.0.0.1",
        "HF_TOKEN": "hidden",
    }
    command = [sys.executable, "-c", "input('ready')", "/chrek/chrek_worker.pyz", "--", "serve", "--model", "m"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert child.stdout.read(5) == b"ready"
    yield child.pid
    child.communicate(b"\n")


def test_the_command_is_the_workers_own(worker):
    assert facts.argv(worker) == ["serve", "--model", "m"]
    assert facts.argv(os.getpid()) == list(sys.orig_argv)
    assert facts.argv(987654) is None


def test_variables_that_hold_secrets_or_places_are_left_out(worker):
    assert facts.env_flags(worker) == {"VLLM_USE_V1": "1", "NCCL_DEBUG": "WARN"}
    assert facts.env_flags(987654) is None


def test_the_image_is_the_one_that_runs():
    assert facts.image_digest(POD, "main") == "docker.io/x@sha256:aa"
    assert facts.image_digest(POD, "third") is None
    assert facts.image_digest({"metadata": {}}, "main") is None


def test_the_least_limit_above_a_container_counts(tmp_path, make_container):
    pod = tmp_path / "pod"
    (pod / "c").mkdir(parents=True)
    (pod / "c" / "memory.max").write_text("max\n")
    (pod / "memory.max").write_text(f"{1 << 20}\n")
    (tmp_path / "memory.max").write_text(f"{1 << 21}\n")
    assert facts.memory_limit(make_container(cgroups=(pod / "c",))) == 1 << 20
    assert facts.memory_limit(make_container()) == facts.node_memory()


def test_what_the_runtime_mounts_is_its_own(monkeypatch, make_container):
    points = ["/checkpoint-signal", "/dev", "/dev/shm", "/proc", "/proc/acpi", "/sys", "/procession"]
    monkeypatch.setattr(facts.rootfs, "mount_points", lambda _: points)
    assert facts.mounts(make_container()) == ["/checkpoint-signal", "/dev/shm", "/procession"]


def test_a_record_holds_what_the_tree_needs(make_container):
    container = make_container()
    me = processes.read_process(os.getpid())
    record = facts.of_source("4.2.1", container, POD, [me, me])
    (described,) = facts.tree([me])
    assert 1.5 * described.bytes < record.memory_bytes < 2.5 * described.bytes
    assert (described.pid, described.name) == (me.inner, me.name)
    assert described.threads >= 1
    assert (record.criu, record.image_digest, record.gpus, record.driver) == ("4.2.1", "docker.io/x@sha256:aa", [], None)
    assert record.architecture == os.uname().machine


@pytest.fixture
def driver(tmp_path):
    """The driver's part of /proc, with two GPUs."""
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@x)\nGCC version: 12.2.0\n"
    )
    for number, bus in enumerate(("0000:17:00.0", "0000:3d:00.0")):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 5\nGPU UUID: \t GPU-{number}\nDevice Minor: \t {number}\n"
        (tmp_path / "gpus" / bus / "information").write_text(text)
    return tmp_path


def test_gpus_without_nvidias_library(driver, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found, cuda = gpus.node_gpus(driver)
    assert gpus.driver_version(driver) == "580.65.06"
    assert found == {0: Gpu(model="NVIDIA H200", uuid="GPU-0"), 1: Gpu(model="NVIDIA H200", uuid="GPU-1")}
    assert cuda is None
    idle = driver / "gpus" / "0000:17:00.0" / "information"
    idle.write_text(idle.read_text().replace("GPU-0", "GPU-????????-????-????-????-????????????"))
    assert gpus.node_gpus(driver)[0][0] == Gpu(model="NVIDIA H200")


def test_gpus_as_nvidias_library_describes_them(driver, monkeypatch):
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMinorNumber=lambda _: 7,
        nvmlSystemGetCudaDriverVersion_v2=lambda: 13010,
        nvmlDeviceGetMigMode=lambda _: (1, 1),
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=5),
        nvmlDeviceGetName=lambda _: b"NVIDIA H200",
        nvmlDeviceGetUUID=lambda _: "GPU-7",
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert gpus.node_gpus(driver) == ({7: Gpu(model="NVIDIA H200", memory_bytes=5, uuid="GPU-7", mig="enabled")}, "13.1")


def test_a_node_without_a_driver_has_no_gpus(tmp_path):
    assert gpus.node_gpus(tmp_path) == ({}, None)
    assert gpus.driver_version(tmp_path) is None


def test_a_containers_gpus_are_those_whose_devices_it_has(tmp_path, make_container, monkeypatch):
    devices = tmp_path / str(os.getpid()) / "root" / "dev"
    devices.mkdir(parents=True)
    for name in ("nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (devices / name).touch()
    monkeypatch.setattr(gpus, "PROC", tmp_path)
    one = Gpu(model="H200", uuid="GPU-1")
    assert gpus.container_gpus(make_container(), {0: Gpu(model="x"), 1: one}) == [one, Gpu()]
    monkeypatch.setattr(gpus, "PROC", Path("/nowhere"))
    assert gpus.container_gpus(make_container(), {1: one}) == []


class FakeCriu:
    async def version(self):
        return "4.2.1"


async def test_the_gate_says_every_reason(make_container):
    container = make_container()
    gate = Gate(FakeCriu())
    good = facts.of_target("4.2.1", container, POD)
    assert await gate.check(good, container, POD)
    assert await gate.check(Compatibility(), container, POD)
    bad = good.model_copy(update={"criu": "9.0", "image_digest": "docker.io/x@sha256:bb"})
    with pytest.raises(IncompatibleError, match=r"criu: captured with criu 9.0, here it is the older 4.2.1; image: .*sha256:bb"):
        await gate.check(bad, container, POD)
    waived = POD | {"metadata": {"annotations": {"nvidia.com/chrek-compat-override": "criu, image"}}}
    assert [check.name for check in await gate.check(bad, container, waived) if check.waived] == ["criu", "image"]


@pytest.mark.parametrize(("before", "held", "needed"), [(5, 0, 5), (5, 9, 9), (9, 5, 9), (None, 4, 4)])
def test_a_worker_with_gpus_needs_memory_for_what_is_on_them(before, held, needed):
    assert facts.with_memory(Compatibility(memory_bytes=before), held).memory_bytes == needed
