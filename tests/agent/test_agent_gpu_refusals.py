"""What of GPU processes could be captured and never restored: one /proc for each, and the line that says what cures it."""

import pytest

from chrek_agent.container import processes
from chrek_agent.container.processes import Process
from chrek_agent.cuda.evidence import gather
from chrek_agent.cuda.refusals import MANAGED, refuse_gpus
from chrek_agent.errors import CaptureError

MAPS = """\
200000000-200200000 ---p 00000000 00:00 0
200200000-200400000 rw-s 00000000 00:06 1043                             /dev/nvidiactl
200400000-203600000 rw-s 00000000 00:06 1047                             /dev/nvidia0
55d6c5c00000-55d6c5c63000 r--p 00000000 00:2f 1311                       /usr/bin/python3.12
7f5e3a000000-7f5e3a200000 rw-s 7f5e3a000000 00:06 1045                   /dev/nvidia-uvm
7f5e44000000-7f5e46e00000 r-xp 00000000 00:2f 90211                      /usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04
7f5e5c000000-7f5e6f000000 r-xp 00000000 00:2f 71502                      /usr/lib/python3/nvidia/nccl/lib/libnccl.so.2
7ffd1a2c0000-7ffd1a2e1000 rw-p 00000000 00:00 0                          [stack]
"""
SEGMENT = "7f5e90000000-7f5e90a00000 rw-s 00000000 00:35 12                         /dev/shm/nccl-JV7rGo (deleted)\n"
HANDLES = "7f5e91000000-7f5e91001000 rw-s 00000000 00:35 14                         /dev/shm/cuda.shm.0.3e9.1\n"
TABLE = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1", "NCCL_NVLS_ENABLE": "0", "NCCL_CUMEM_ENABLE": "0"}
ALIVE = ("python3", "pt_nccl_watchdg", "NCCL Service 0")
JOB = {"CUDA_CHECKPOINT_JOB_FILE": "/proc/self/fd/3"}


class Driver:
    """Says what its GPUs can do together, and counts how often it is asked."""

    def __init__(self, *, linked=True):
        self.linked, self.asked = linked, 0

    def peers(self):
        self.asked += 1
        return self.linked

    multicast = peers


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with one GPU divided; each `add` is a GPU process more, `refusal` what is said of all of them."""
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr("chrek_agent.node.gpus.PROC", tmp_path / "proc")

    class Node:
        gpus = 2
        driver = Driver()
        users = ()
        tree = ()

        def version(self, text):
            (tmp_path / "nvidia").mkdir(exist_ok=True)
            (tmp_path / "nvidia" / "version").write_text(f"NVRM version: NVIDIA UNIX x86_64  Kernel Module  {text}  Mon\n")

        def add(self, maps="", files=(), environment=None, threads=("python3",), command="python3 serve.py", gpu=True):
            pid = 41 + len(self.tree)
            directory = tmp_path / "proc" / str(pid)
            (directory / "fd").mkdir(parents=True)
            (directory / "root" / "dev").mkdir(parents=True)
            for minor in range(self.gpus):
                (directory / "root" / "dev" / f"nvidia{minor}").touch()
            for number, target in enumerate(("/dev/null", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm", *files)):
                (directory / "fd" / str(number)).symlink_to(target)
            for number, name in enumerate(threads):
                (directory / "task" / str(pid + number)).mkdir(parents=True)
                (directory / "task" / str(pid + number) / "comm").write_text(f"{name}\n")
            (directory / "maps").write_text(MAPS + maps)
            (directory / "environ").write_text("".join(f"{name}={value}\0" for name, value in (environment or {}).items()))
            (directory / "cmdline").write_text(command.replace(" ", "\0"))
            process = Process(pid, 1, 960 + pid, "python3", "S", 5)
            self.tree = (*self.tree, process)
            self.users = (*self.users, process) if gpu else self.users
            return directory

        def ranks(self, count=2, **shown):
            for _ in range(count):
                self.add(**{"threads": ALIVE, **shown})

        def refusal(self):
            try:
                refuse_gpus(self.users, self.tree, self.driver, tmp_path / "nvidia")
            except CaptureError as error:
                return str(error)
            return ""

    node = Node()
    node.version("580.159.04")
    slices = tmp_path / "nvidia" / "capabilities" / "gpu0" / "mig" / "gi1"
    (slices / "ci0").mkdir(parents=True)
    (slices / "access").write_text("DeviceFileMinor: 12\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
    (slices / "ci0" / "access").write_text("DeviceFileMinor: 13\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
    return node


def test_an_ordinary_worker_is_captured_and_nobody_is_asked(node):
    node.add(SEGMENT, threads=ALIVE)  # A group of one: there is nobody to share with.
    assert node.refusal() == ""
    assert node.driver.asked == 0


def test_ranks_with_the_settings_of_the_table_are_captured(node):
    node.ranks(8, environment=TABLE)
    assert node.refusal() == ""


def test_ranks_whose_communicators_are_down_are_captured(node):
    node.ranks(threads=("python3", "cuda-EvtHandlr"), environment={"NCCL_SET_THREAD_NAME": "1"})  # The library is still there.
    assert node.refusal() == ""


def test_where_nobody_can_tell_a_communicator_is_taken_to_be_up(node):
    node.ranks(threads=("python3",))
    assert "may have (NCCL_SET_THREAD_NAME=1 would tell) NCCL on NVLink SHARP" in node.refusal()


@pytest.mark.parametrize("shown", [{"threads": ("python3", "pt_nccl_heartbt")}, {"threads": ("python3",), "maps": SEGMENT}])
def test_a_communicator_is_known_by_its_threads_or_by_its_memory(node, shown):
    node.ranks(**shown)
    assert "has NCCL on" in node.refusal()


@pytest.mark.parametrize(
    ("environment", "cure"),
    [
        ({}, "set NCCL_NVLS_ENABLE=0, or take its process groups down before the capture (docs/gpus.md)"),
        ({"NCCL_NVLS_ENABLE": "1"}, "set NCCL_NVLS_ENABLE=0"),
        ({"NCCL_CUMEM_ENABLE": "0"}, "set NCCL_P2P_DISABLE=1, or take its process groups down before the capture"),
        ({"NCCL_NVLS_ENABLE": "0", "NCCL_P2P_DISABLE": "0"}, "set NCCL_P2P_DISABLE=1"),
        (TABLE | {"NCCL_SHM_DISABLE": "0"}, "set NCCL_CUMEM_HOST_ENABLE=0"),
    ],
)
def test_what_ranks_share_and_which_setting_cures_it(node, environment, cure):
    node.ranks(environment=environment)
    said = node.refusal()
    assert said.startswith("python3 (PID 1001) has NCCL on ")
    assert cure in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "environment",
    [
        TABLE | {"NCCL_P2P_DISABLE": "", "NCCL_P2P_LEVEL": "LOC"},
        TABLE | {"NCCL_SHM_DISABLE": "0", "NCCL_CUMEM_HOST_ENABLE": "0"},
        TABLE | {"NCCL_CUMEM_ENABLE": "1"},
    ],
)
def test_other_settings_that_do_as_well(node, environment):
    node.ranks(environment=environment)
    assert node.refusal() == ""


def test_one_rank_with_other_settings_is_named(node):
    node.ranks(environment=TABLE)
    node.ranks(1, environment=TABLE | {"NCCL_P2P_DISABLE": "0"})
    assert node.refusal().startswith("python3 (PID 1003) has NCCL on CUDA IPC (P2P), which driver 580 captures but never restores")


def test_gpus_that_do_not_reach_each_other_share_nothing(node):
    node.driver.linked = False
    node.ranks(environment={"NCCL_CUMEM_HOST_ENABLE": "0"})
    assert node.refusal() == ""
    assert node.driver.asked > 0


@pytest.mark.parametrize(
    ("version", "second", "restored"), [("610.43.02", JOB, True), ("610.43.02", {}, False), ("590.44.01", JOB, False)]
)
def test_processes_of_one_job_may_share_what_the_driver_then_restores(node, version, second, restored):
    node.version(version)
    peers = TABLE | {"NCCL_P2P_DISABLE": "0"}
    node.add(HANDLES, threads=ALIVE, environment=peers | JOB)
    node.add(HANDLES, threads=ALIVE, environment=peers | second)
    assert (node.refusal() == "") is restored


def test_no_job_brings_multicast_back(node):
    node.version("610.43.02")
    node.ranks(environment=JOB)
    assert "NVLink SHARP" in node.refusal()


def test_memory_shared_by_cuda_ipc_is_seen_in_both_processes(node):
    node.add(HANDLES, environment=TABLE)
    assert node.refusal() == ""
    node.add(HANDLES, environment=TABLE)
    assert node.refusal().startswith("python3 (PID 1001) shares GPU memory with another process by CUDA IPC")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [("", "reduces over its GPUs by CUDA IPC, which driver 580"), (" --disable-custom-all-reduce", ""), (" --help", "CUDA IPC")],
)
def test_an_engines_own_all_reduce_has_a_flag(node, flags, reason):
    node.add(command=f"python3 -m vllm.entrypoints.openai.api_server --tensor-parallel-size 2{flags}", gpu=False)
    node.ranks(environment=TABLE, command="VLLM::Worker_TP")
    said = node.refusal()
    assert reason in said
    assert bool(reason) is ("start it with --disable-custom-all-reduce" in said)


@pytest.mark.parametrize(("gpus", "count"), [(1, 2), (8, 1)])
def test_an_engine_on_one_gpu_needs_no_flag(node, gpus, count):
    """Its other process, too, may have a context there; and the node's other GPUs are not its own."""
    node.gpus = gpus
    node.ranks(count, command="python3 -m sglang.launch_server")
    assert node.refusal() == ""
    assert node.driver.asked == 0


@pytest.mark.parametrize(
    "shown",
    [
        {"files": ("/dev/nvidia-caps/nvidia-cap13",)},
        {"environment": {"NVIDIA_VISIBLE_DEVICES": "MIG-a1b2"}},
        {"environment": {"CUDA_VISIBLE_DEVICES": "MIG-GPU-1/0/0"}},
    ],
)
def test_a_part_of_a_gpu(node, shown):
    node.add(**shown)
    assert node.refusal() == (
        "python3 (PID 1001) runs on a part of a GPU (MIG), which the driver cannot checkpoint: give its pod a whole GPU"
    )


def test_other_capabilities_are_no_parts_of_a_gpu(node):
    node.add(files=("/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2"))
    assert node.refusal() == ""


@pytest.mark.parametrize(
    ("environment", "pipes"), [({}, "/tmp/nvidia-mps"), ({"CUDA_MPS_PIPE_DIRECTORY": "/mps/pipe"}, "/mps/pipe")]
)
def test_a_client_of_mps(node, environment, pipes):
    directory = node.add(environment=environment)
    assert node.refusal() == ""
    (directory / "root" / pipes[1:]).mkdir(parents=True)
    (directory / "root" / pipes[1:] / "control").touch()
    assert node.refusal().endswith(f"by MPS ({pipes}), which cannot be checkpointed: run its pod without MPS")


def test_memory_of_other_nodes(node):
    node.add(files=("/dev/nvidia-caps-imex-channels/channel0",))
    assert "(IMEX), which cannot be restored: set NCCL_MNNVL_ENABLE=0" in node.refusal()


@pytest.mark.parametrize(("size", "refused"), [(MANAGED - (4 << 20), False), (MANAGED, True)])
def test_managed_memory(node, size, refused):
    start = 0x7F0000000000
    node.add(f"{start:x}-{start + size:x} rw-s {start:x} 00:06 1045    /dev/nvidia-uvm\n")
    said = node.refusal()
    assert ("has 0.3 GiB of managed memory (cudaMallocManaged), which cannot be checkpointed: use device memory" in said) is refused


def test_a_process_that_ends_meanwhile_shows_nothing(node):
    gone = Process(987654, 1, 2, "python3", "S", 5)
    node.users = node.tree = (gone, gone)
    assert node.refusal() == ""
    assert not gather(gone).communicates


def test_memory_that_an_agent_has_loaded_is_given_up_first(node):
    directory = node.add(threads=("python3", "chrek-borrowed"))
    assert "holds GPU memory that an agent loaded when it was restored" in node.refusal()
    (directory / "task" / "42" / "comm").unlink()
    (directory / "task" / "42").rmdir()
    assert node.refusal() == ""
