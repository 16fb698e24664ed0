"""GPU processes: found, and moved to the host and back in the right order, against a driver that only takes notes."""

import os
import signal
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest

from chrek_agent.container.processes import Process
from chrek_agent.cuda import frozen as module
from chrek_agent.cuda.detection import gpu_processes
from chrek_agent.cuda.driver import Bindings, CudaError
from chrek_agent.cuda.frozen import FILE, NOTHING, Frozen, Gpus, load, save
from chrek_agent.cuda.hugepages import huge_pages, turn_back
from chrek_agent.cuda.sequence import device_map, freeze, thaw, unfreeze
from chrek_agent.errors import ArtifactError, RestoreError


class Recorder:
    """Notes every call; the ones in `refused` fail."""

    def __init__(self, *refused):
        self.calls, self.refused = [], set(refused)

    def _note(self, *call):
        self.calls.append(call)
        if call[:2] in self.refused:
            raise CudaError(f"{call[0]} of {call[1]}")

    def holds(self, pid):
        return ("holds", pid) not in self.refused

    def lock(self, pid, seconds):
        self._note("lock", pid)

    def checkpoint(self, pid):
        self._note("checkpoint", pid)

    def restore(self, pid, gpus):
        self._note("restore", pid, dict(gpus))

    def unlock(self, pid):
        self._note("unlock", pid)

    def gpus(self):
        return ["GPU-a", "GPU-b"]


def NEVER(switch):  # noqa: N802 - a value that is given
    pytest.fail(f"{switch} was turned")


def process(pid, inner=0):
    return Process(pid, 1, inner or pid, "worker", "S", 5)


def test_all_are_locked_before_any_is_checkpointed():
    driver = Recorder()
    freeze(driver, [1, 2], lock_seconds=1.0)
    assert driver.calls == [("lock", 1), ("lock", 2), ("checkpoint", 1), ("checkpoint", 2)]


@pytest.mark.parametrize(
    ("refused", "undone"),
    [
        (("lock", 1), []),
        (("lock", 2), [("unlock", 1)]),
        (("checkpoint", 1), [("unlock", 2), ("unlock", 1)]),
        (("checkpoint", 2), [("restore", 1, {}), ("unlock", 2), ("unlock", 1)]),
    ],
)
def test_a_partial_freeze_is_undone_in_reverse(refused, undone):
    driver = Recorder(refused)
    with pytest.raises(CudaError, match=f"{refused[0]} of {refused[1]}"):
        freeze(driver, [1, 2], lock_seconds=1.0)
    assert driver.calls[driver.calls.index(refused) + 1 :] == undone


def test_one_that_cannot_be_undone_does_not_keep_the_others():
    driver = Recorder(("restore", 2), ("unlock", 2))
    unfreeze(driver, [1, 2])
    assert driver.calls == [("restore", 2, {}), ("restore", 1, {}), ("unlock", 2), ("unlock", 1)]


def test_all_are_restored_before_any_is_unlocked():
    driver = Recorder()
    thaw(driver, [1, 2], {"GPU-a": "GPU-c"})
    assert [call[:2] for call in driver.calls] == [("restore", 1), ("restore", 2), ("unlock", 1), ("unlock", 2)]
    assert driver.calls[0][2] == {"GPU-a": "GPU-c"}


@pytest.mark.parametrize(
    ("captured", "here", "pairs"),
    [
        (["a", "b"], ["a", "b"], {}),
        (["a", "b"], ["b", "a"], {}),
        (["a", "b"], ["b", "c"], {"a": "c", "b": "b"}),
        (["a", "b"], ["c", "d"], {"a": "c", "b": "d"}),
        (["a"], ["b", "a"], {}),
        ([], ["a"], {}),
    ],
)
def test_a_gpu_that_is_still_there_keeps_its_place(captured, here, pairs):
    assert device_map(captured, here) == pairs


def test_fewer_gpus_than_were_captured():
    with pytest.raises(RestoreError, match=r"captured on 2 GPU\(s\), here there are 1"):
        device_map(["a", "b"], ["a"])


@pytest.fixture
def proc(tmp_path):
    """A /proc with one process that uses CUDA, one that only has the library, and one that only has the device."""
    for pid, device, library in (
        (1, "/dev/nvidia0", "libcuda.so.580.65.06"),
        (2, "/dev/null", "libcuda.so.1"),
        (3, "/dev/nvidiactl", ""),
    ):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "3").symlink_to(device)
        (tmp_path / str(pid) / "maps").write_text(f"7f00-7f01 r-xp 00000000 08:01 5 /usr/lib/{library}\n")
    return tmp_path


def test_which_processes_use_cuda(proc):
    found = gpu_processes([process(3), process(2), process(1), process(4)], proc)
    assert [entry.pid for entry in found] == [1]


@pytest.fixture
def signals(monkeypatch):
    sent = []
    monkeypatch.setattr(module.processes, "send", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(module, "gpu_processes", lambda tree: [entry for entry in tree if entry.pid < 100])
    return sent


async def test_a_tree_is_frozen_for_the_block_and_thawed_whatever_happens(signals):
    driver = Recorder(("holds", 12))
    gpus = Gpus(lambda: driver, devices=module.Path(os.devnull))
    tree = [process(10, 1001), process(11, 1002), process(12), process(100)]

    async def capture():
        async with gpus.frozen_gpu(tree, lambda: driver.calls.append("wake"), NEVER) as frozen:
            assert frozen == Frozen([1001, 1002], ["GPU-a", "GPU-b"])
            assert [call[0] for call in driver.calls] == ["lock", "lock", "checkpoint", "checkpoint"]
            raise KeyError

    with pytest.raises(KeyError):
        await capture()
    assert driver.calls[4:] == ["wake", ("restore", 11, {}), ("restore", 10, {}), ("unlock", 11), ("unlock", 10)]


async def test_huge_pages_are_used_while_memory_moves_to_the_host_and_no_longer(signals, monkeypatch):
    driver = Recorder()

    @contextmanager
    def noted(_):
        driver.calls.append("huge")
        yield
        driver.calls.append("as before")

    monkeypatch.setattr(module, "huge_pages", noted)
    gpus = Gpus(lambda: driver, devices=module.Path(os.devnull), huge=True)
    async with gpus.frozen_gpu([process(10, 1001)], lambda: None, NEVER):
        assert driver.calls == ["huge", ("lock", 10), ("checkpoint", 10), "as before"]


async def test_a_tree_without_cuda_asks_no_driver(tmp_path, monkeypatch):
    def opened():
        raise AssertionError("the driver was opened")

    async with Gpus(opened, devices=tmp_path / "none").frozen_gpu([process(os.getpid())], opened, NEVER) as frozen:
        assert frozen == NOTHING
    await Gpus(opened).thaw_gpu(NOTHING, [])


async def test_a_restored_tree_gets_its_gpus(signals):
    driver = Recorder()
    gpus = Gpus(lambda: driver)
    await gpus.thaw_gpu(Frozen([1001], ["GPU-x"]), [process(50, 1001), process(51, 1002)], ["GPU-b"])
    assert driver.calls == [("restore", 50, {"GPU-x": "GPU-b"}), ("unlock", 50)]
    assert signals == [(50, signal.SIGCONT)]
    with pytest.raises(RestoreError, match="GPU process 1001 of the captured worker is not there"):
        await gpus.thaw_gpu(Frozen([1001], ["GPU-x"]), [])


def test_what_a_restore_needs_to_know_is_a_file(tmp_path):
    path = tmp_path / FILE
    save(NOTHING, path)
    assert not path.exists()
    assert load(path) == NOTHING
    save(Frozen([1001], ["GPU-a"]), path)
    assert load(path) == Frozen([1001], ["GPU-a"])
    for damage in ("", "[]", "{}", '{"pids": ["x"], "gpus": []}'):
        path.write_text(damage)
        with pytest.raises(ArtifactError, match=r"gpus.json is damaged"):
            load(path)


async def test_without_the_bindings_the_reason_is_one_line(signals, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(CudaError, match=r"the worker uses CUDA, but cuda\.bindings is not installed"):
        async with Gpus(devices=module.Path(os.devnull)).frozen_gpu([process(10)], lambda: None, NEVER):
            pass


def bindings(monkeypatch, **functions):
    """cuda.bindings.driver with these functions only."""
    driver = SimpleNamespace(CUresult=SimpleNamespace(CUDA_SUCCESS=0), cuInit=lambda _: (0,), **functions)
    package = ModuleType("cuda.bindings")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", package)
    return Bindings()


def test_what_the_driver_refuses_is_said_with_the_calls_name(monkeypatch):
    driver = bindings(monkeypatch, cuCheckpointProcessUnlock=lambda *_: (801,), CUcheckpointUnlockArgs=SimpleNamespace)
    with pytest.raises(CudaError, match="cuCheckpointProcessUnlock failed: 801"):
        driver.unlock(1)
    with pytest.raises(CudaError, match=r"has no cuDeviceGetCount") as caught:
        driver.gpus()
    assert "12.8" in caught.value.hint


def test_uuids_are_spelled_as_nvidia_smi_does(monkeypatch):
    uuid = SimpleNamespace(bytes=bytes(range(16)))
    driver = bindings(
        monkeypatch, cuDeviceGetCount=lambda: (0, 1), cuDeviceGet=lambda index: (0, index), cuDeviceGetUuid=lambda _: (0, uuid)
    )
    assert driver.gpus() == ["GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"]


def test_huge_pages_are_used_for_a_while_and_then_as_before(tmp_path):
    switch = tmp_path / "enabled"
    switch.write_text("always [madvise] never\n")
    turned = []
    with huge_pages(turned.append, switch):
        assert switch.read_text() == "always"
        assert turned == [switch]
    assert switch.read_text() == "madvise"


@pytest.mark.parametrize("said", ["[always] madvise never", "always madvise [never]"])
def test_a_node_that_has_decided_on_huge_pages_is_left_alone(tmp_path, said):
    switch = tmp_path / "enabled"
    switch.write_text(said)
    with huge_pages(NEVER, switch):
        assert switch.read_text() == said
    assert switch.read_text() == said


def test_a_node_without_huge_pages_is_no_obstacle(tmp_path):
    with huge_pages(NEVER, tmp_path / "enabled"):
        assert not (tmp_path / "enabled").exists()


@pytest.mark.parametrize(
    ("said", "then"), [("[always] madvise never", "madvise"), ("always madvise [never]", "always madvise [never]")]
)
def test_a_switch_that_a_killed_agent_has_turned_is_turned_back(tmp_path, said, then):
    switch = tmp_path / "enabled"
    switch.write_text(said)
    turn_back(switch)
    assert switch.read_text() == then
