"""GPU processes: found, and moved to the host and back in the right order, against a driver that only takes notes."""

import ctypes
import os
import signal
import sys
import threading
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest

from chrek_agent.container.processes import Process
from chrek_agent.cuda import frozen as module
from chrek_agent.cuda.detection import gpu_processes, shares_copies
from chrek_agent.cuda.driver import Bindings, BusyError, CudaError
from chrek_agent.cuda.frozen import FILE, NOTHING, Frozen, Gpus, load, save
from chrek_agent.cuda.hugepages import huge_pages, turn_back
from chrek_agent.cuda.placing import device_map
from chrek_agent.cuda.sequence import ROUNDS, freeze, thaw, unfreeze
from chrek_agent.errors import ArtifactError, CaptureError, RestoreError
from kubectl_chrek.api import names
from kubectl_chrek.api.compatibility import Gpu


class Recorder:
    """Notes every call; the ones in `refused` fail, those in `busy` as often as it says."""

    def __init__(self, *refused, busy=None):
        self.calls, self.refused, self.busy = [], set(refused), dict(busy or {})

    def _note(self, *call):
        self.calls.append(call)
        if call[:2] in self.refused:
            raise CudaError(f"{call[0]} of {call[1]}")

    def holds(self, pid):
        return ("holds", pid) not in self.refused

    def lock(self, pid, seconds):
        self._note("lock", pid, seconds)
        if self.busy.get(pid, 0):
            self.busy[pid] -= 1
            raise BusyError(f"lock of {pid} takes too long")

    def checkpoint(self, pid):
        self._note("checkpoint", pid)

    def restore(self, pid, gpus):
        self._note("restore", pid, dict(gpus))

    def unlock(self, pid):
        self._note("unlock", pid)

    def gpus(self):
        return ["GPU-a", "GPU-b"]

    def peers(self):
        return True

    def multicast(self):
        return True

    def steps(self):
        """What was called of whom, side by side in any order."""
        return [call[:2] for call in self.calls]


def NEVER(switch):  # noqa: N802 - a value that is given
    pytest.fail(f"{switch} was turned")


def process(pid, inner=0):
    return Process(pid, 1, inner or pid, "worker", "S", 5)


def gpu(uuid, model="", gib=0, mig=""):
    return Gpu(uuid=uuid, model=model, memory_bytes=gib << 30, mig=mig)


def gpus_of(*uuids):
    return [gpu(uuid) for uuid in uuids]


def test_all_are_locked_before_any_is_checkpointed():
    driver, told = Recorder(), []
    seconds = freeze(driver, [1, 2], lock_seconds=8.0, told=lambda *how_far: told.append(how_far))
    assert driver.calls[:2] == [("lock", 1, 8.0 / ROUNDS), ("lock", 2, 8.0 / ROUNDS)]
    assert sorted(driver.calls[2:]) == [("checkpoint", 1), ("checkpoint", 2)]
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert seconds.keys() == {1, 2}


def test_memory_of_all_moves_at_the_same_time():
    """Each waits for the others in the midst of its call."""
    pids, together = [1, 2, 3], threading.Barrier(3, timeout=10)

    class Waiting(Recorder):
        def checkpoint(self, pid):
            together.wait()

        def restore(self, pid, gpus):
            together.wait()

    driver = Waiting()
    freeze(driver, pids, lock_seconds=1.0)
    thaw(driver, pids, {})
    unfreeze(driver, pids)
    assert driver.steps()[3:] == [("unlock", pid) for pid in (1, 2, 3, 3, 2, 1)]


@pytest.mark.parametrize(
    ("refused", "undone"),
    [
        (("lock", 1), []),
        (("lock", 2), [("unlock", 1)]),
        (("checkpoint", 1), [("restore", 2), ("unlock", 2), ("unlock", 1)]),
        (("checkpoint", 2), [("restore", 1), ("unlock", 2), ("unlock", 1)]),
    ],
)
def test_a_partial_freeze_is_undone_in_reverse(refused, undone):
    driver = Recorder(refused)
    with pytest.raises(CudaError, match=f"{refused[0]} of {refused[1]}"):
        freeze(driver, [1, 2], lock_seconds=1.0)
    saving = {("lock", 1), ("lock", 2), ("checkpoint", 1), ("checkpoint", 2)}
    assert [step for step in driver.steps() if step not in saving] == undone


def test_every_failure_is_logged_and_one_is_raised(caplog):
    driver = Recorder(("checkpoint", 1), ("checkpoint", 3))
    with pytest.raises(CudaError, match="checkpoint of"):
        freeze(driver, [1, 2, 3], lock_seconds=1.0)
    assert {"GPU process 1: checkpoint of 1", "GPU process 3: checkpoint of 3"} <= set(caplog.messages)
    assert driver.calls[6:] == [("restore", 2, {}), ("unlock", 3), ("unlock", 2), ("unlock", 1)]
    driver = Recorder(("restore", 1), ("restore", 2))
    with pytest.raises(CudaError, match="restore of"):
        thaw(driver, [1, 2, 3], {})
    assert sorted(driver.steps()) == [("restore", 1), ("restore", 2), ("restore", 3)]
    assert {"GPU process 1: restore of 1", "GPU process 2: restore of 2"} <= set(caplog.messages)


def test_one_that_waits_for_another_is_let_go_with_it_and_tried_again():
    driver = Recorder(busy={2: 2})
    freeze(driver, [1, 2], lock_seconds=1.0)
    one_round = [("lock", 1), ("lock", 2), ("unlock", 1)]
    assert driver.steps()[:8] == [*one_round, *one_round, ("lock", 1), ("lock", 2)]
    assert sorted(driver.steps()[8:]) == [("checkpoint", 1), ("checkpoint", 2)]


@pytest.mark.parametrize(("pids", "rounds"), [([2], 1), ([1, 2], ROUNDS)])
def test_one_that_never_comes_to_rest_is_named(pids, rounds):
    driver = Recorder(busy={2: 99})
    with pytest.raises(BusyError, match=r"process 2 has not come to rest within 6 s: capture it while it is idle \(lock of 2"):
        freeze(driver, pids, lock_seconds=6.0)
    assert driver.steps().count(("lock", 2)) == rounds
    assert ("checkpoint", 1) not in driver.calls


def test_one_that_cannot_be_undone_does_not_keep_the_others():
    driver = Recorder(("restore", 2), ("unlock", 2))
    unfreeze(driver, [1, 2])
    assert sorted(driver.calls[:2]) == [("restore", 1, {}), ("restore", 2, {})]
    assert driver.calls[2:] == [("unlock", 2), ("unlock", 1)]


def test_all_are_restored_before_any_is_unlocked():
    driver = Recorder()
    assert thaw(driver, [1, 2], {"GPU-a": "GPU-c"}).keys() == {1, 2}
    assert sorted(driver.steps()[:2]) == [("restore", 1), ("restore", 2)]
    assert driver.steps()[2:] == [("unlock", 1), ("unlock", 2)]
    assert driver.calls[0][2] == {"GPU-a": "GPU-c"}


@pytest.mark.parametrize(
    ("captured", "here", "pairs"),
    [
        ("ab", "ab", {}),
        ("ab", "ba", {}),
        ("ab", "bc", {"a": "c", "b": "b"}),
        ("ab", "cd", {"a": "c", "b": "d"}),
        ("abcd", "dxay", {"a": "a", "b": "x", "c": "y", "d": "d"}),
        ("abcdefgh", "hgfedcbz", {"a": "z"} | {uuid: uuid for uuid in "bcdefgh"}),
        ("a", "ba", {}),
        ("", "a", {}),
    ],
)
def test_a_gpu_that_is_still_there_keeps_its_place(captured, here, pairs):
    assert device_map(gpus_of(*captured), gpus_of(*here)) == pairs


def test_like_goes_on_like():
    captured = [gpu("a", "H200", 141), gpu("b", "L4", 24), gpu("c", "H200", 141)]
    here = [gpu("x", "L4", 24), gpu("y", "H200", 141), gpu("z", "H200", 141)]
    assert device_map(captured, here) == {"a": "y", "b": "x", "c": "z"}
    assert device_map(captured, gpus_of("p", "q", "r")) == {"a": "p", "b": "q", "c": "r"}


@pytest.mark.parametrize(
    ("captured", "here", "reason"),
    [
        (gpus_of("a", "b"), gpus_of("a"), "captured on 2 GPUs, here there is 1 GPU"),
        (gpus_of("a"), gpus_of("b", "c"), "captured on 1 GPU, here there are 2 GPUs"),
        (gpus_of("a"), [], "captured on 1 GPU, here there are 0 GPUs"),
        ([gpu("a", "H200")], [gpu("b", "L4")], "captured on GPU H200, here it is L4: the driver restores onto the same model only"),
        ([gpu("a", "H", 141)], [gpu("b", "H", 80)], "captured on a GPU of 141 GiB, here it has 80 GiB"),
        ([gpu("a", "H", 141)], [gpu("b", "H", 141, "1g.18gb")], "here: the driver restores onto whole GPUs only"),
    ],
)
def test_gpus_that_cannot_take_the_place_of_the_others(captured, here, reason):
    with pytest.raises(RestoreError) as caught:
        device_map(captured, here)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


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
    monkeypatch.setattr(module, "refuse_gpus", lambda users, tree, driver: None)
    return sent


async def test_a_tree_is_frozen_for_the_block_and_thawed_whatever_happens(signals):
    driver, told = Recorder(("holds", 12)), []
    gpus = Gpus(lambda: driver, devices=module.Path(os.devnull), listed=dict)
    tree = [process(10, 1001), process(11, 1002), process(12), process(100)]

    async def capture():
        wake = lambda: driver.calls.append("wake")  # noqa: E731 - one word
        async with gpus.frozen_gpu(tree, wake, NEVER, lambda *how_far: told.append(how_far)) as frozen:
            assert (frozen.pids, frozen.gpus) == ([1001, 1002], gpus_of("GPU-a", "GPU-b"))
            assert frozen.seconds.keys() == {1001, 1002}
            assert [call[0] for call in driver.calls] == ["lock", "lock", "checkpoint", "checkpoint"]
            raise KeyError

    with pytest.raises(KeyError):
        await capture()
    assert driver.calls[4] == "wake"
    assert sorted(driver.calls[5:7]) == [("restore", 10, {}), ("restore", 11, {})]
    assert driver.calls[7:] == [("unlock", 11), ("unlock", 10)]
    assert told == [(0, 2), (1, 2), (2, 2)]


async def test_what_could_never_be_restored_is_refused_before_anything_is_locked(signals, monkeypatch):
    driver, tree = Recorder(), [process(10, 1001), process(100)]

    def refuse(users, whole, asked):
        assert ([user.pid for user in users], whole, asked) == ([10], tree, driver)
        raise CaptureError("no")

    monkeypatch.setattr(module, "refuse_gpus", refuse)
    with pytest.raises(CaptureError):
        async with Gpus(lambda: driver, devices=module.Path(os.devnull)).frozen_gpu(tree, NEVER, NEVER):
            pass
    assert driver.calls == []


async def test_the_gpus_of_a_container_are_those_that_it_sees(signals, tmp_path, monkeypatch):
    monkeypatch.setattr("chrek_agent.node.gpus.PROC", tmp_path)
    for pid, minors in ((10, (1, 3)), (50, (0, 3))):
        (tmp_path / str(pid) / "root" / "dev").mkdir(parents=True)
        for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{minor}" for minor in minors)):
            (tmp_path / str(pid) / "root" / "dev" / name).touch()
    driver, node = Recorder(), {minor: gpu(f"GPU-{minor}", "H200", 141) for minor in range(8)}
    gpus = Gpus(lambda: driver, devices=module.Path(os.devnull), listed=lambda: node)
    async with gpus.frozen_gpu([process(10, 1001)], lambda: None, NEVER) as frozen:
        assert frozen.gpus == [node[1], node[3]]
    driver.calls.clear()
    await gpus.thaw_gpu(frozen, [process(50, 1001)])
    assert driver.calls == [("restore", 50, {"GPU-1": "GPU-0", "GPU-3": "GPU-3"}), ("unlock", 50)]


async def test_huge_pages_are_used_while_memory_moves_to_the_host_and_no_longer(signals, monkeypatch):
    driver = Recorder()

    @contextmanager
    def noted(_):
        driver.calls.append("huge")
        yield
        driver.calls.append("as before")

    monkeypatch.setattr(module, "huge_pages", noted)
    gpus = Gpus(lambda: driver, devices=module.Path(os.devnull), huge=True, listed=dict)
    async with gpus.frozen_gpu([process(10, 1001)], lambda: None, NEVER):
        assert driver.calls == ["huge", ("lock", 10, module.LOCK_SECONDS), ("checkpoint", 10), "as before"]


async def test_a_tree_without_cuda_asks_no_driver(tmp_path, monkeypatch):
    def opened():
        raise AssertionError("the driver was opened")

    async with Gpus(opened, devices=tmp_path / "none").frozen_gpu([process(os.getpid())], opened, NEVER) as frozen:
        assert frozen == NOTHING
    await Gpus(opened).thaw_gpu(NOTHING, [])


async def test_a_restored_tree_gets_its_gpus(signals):
    driver = Recorder()
    gpus = Gpus(lambda: driver, listed=dict)
    seconds = await gpus.thaw_gpu(Frozen([1001], gpus_of("GPU-x", "GPU-b")), [process(50, 1001), process(51, 1002)])
    assert driver.calls == [("restore", 50, {"GPU-x": "GPU-a", "GPU-b": "GPU-b"}), ("unlock", 50)]
    assert signals == [(50, signal.SIGCONT)]
    assert seconds.keys() == {1001}
    with pytest.raises(RestoreError, match="GPU process 1001 of the captured worker is not there"):
        await gpus.thaw_gpu(Frozen([1001], gpus_of("GPU-x")), [])
    assert await gpus.thaw_gpu(NOTHING, []) == {}


def test_what_a_restore_needs_to_know_is_a_file(tmp_path):
    path = tmp_path / FILE
    save(NOTHING, path)
    assert not path.exists()
    assert load(path) == NOTHING
    for known in (
        Frozen([1001], [gpu("GPU-a", "H200", 141)], {1001: 2.5}),
        Frozen([1001], [gpu("GPU-a", "H200", 141)], {1001: 0.9}, shared=True),
    ):
        save(known, path)
        assert load(path) == known
    path.write_text('{"pids": [1001], "gpus": ["GPU-a"]}')  # As it was before GPUs had kinds.
    assert load(path) == Frozen([1001], gpus_of("GPU-a"))
    for damage in (
        "",
        "[]",
        "{}",
        '{"pids": ["x"], "gpus": []}',
        '{"pids": [], "gpus": [1]}',
        '{"pids": [], "gpus": [], "seconds": 1}',
    ):
        path.write_text(damage)
        with pytest.raises(ArtifactError, match=r"gpus.json is damaged"):
            load(path)


@pytest.mark.parametrize(
    ("environment", "shares"),
    [
        (f"A=b\0LD_PRELOAD=/jemalloc.so:/chrek/{names.DRIVER_COPY_FILE}\0C=", True),
        ("LD_PRELOAD=/jemalloc.so", False),
        (f"OLD_LD_PRELOAD=/chrek/{names.DRIVER_COPY_FILE}", False),
        ("", False),
        (None, False),
    ],
)
def test_whether_the_drivers_copies_are_shared_out_is_seen_in_the_environment(tmp_path, environment, shares):
    if environment is not None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "environ").write_text(environment)
    assert shares_copies(7, tmp_path) == shares


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
    busy = SimpleNamespace(name="CUDA_ERROR_NOT_READY")
    driver = bindings(monkeypatch, cuCheckpointProcessLock=lambda *_: (busy,), CUcheckpointLockArgs=SimpleNamespace)
    with pytest.raises(BusyError, match="cuCheckpointProcessLock failed: CUDA_ERROR_NOT_READY"):
        driver.lock(1, 2.5)


def test_what_the_gpus_of_a_node_can_do_together_is_asked(monkeypatch):
    linked, able = set(), set()
    driver = bindings(
        monkeypatch,
        cuDeviceGetCount=lambda: (0, 3),
        cuDeviceGet=lambda index: (0, index),
        cuDeviceCanAccessPeer=lambda one, other: (0, int((one, other) in linked)),
        cuDeviceGetAttribute=lambda attribute, device: (0, int(attribute == 132 and device in able)),
        CUdevice_attribute=SimpleNamespace(CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED=132),
    )
    assert (driver.peers(), driver.multicast()) == (False, False)
    linked.add((2, 1))
    able.add(2)
    assert (driver.peers(), driver.multicast()) == (True, True)


def test_a_map_of_gpus_reaches_the_driver_whole(monkeypatch):
    seen = []

    class Uuid(ctypes.Structure):
        _fields_ = (("raw", ctypes.c_uint8 * 16),)

        def getPtr(self):  # noqa: N802 - as the bindings call it
            return ctypes.addressof(self)

    def restored(pid, arguments):
        seen.extend((pid, bytes(pair.oldUuid.raw).hex(), bytes(pair.newUuid.raw).hex()) for pair in arguments.gpuPairs)
        return (0,)

    driver = bindings(
        monkeypatch,
        cuCheckpointProcessRestore=restored,
        CUcheckpointRestoreArgs=lambda: SimpleNamespace(gpuPairs=[], gpuPairsCount=0),
        CUcheckpointGpuPair=SimpleNamespace,
        CUuuid=Uuid,
    )
    one, other = (f"GPU-{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "1a")
    driver.restore(7, {one: other, other: one})
    assert seen == [(7, "1" * 32, "a" * 32), (7, "a" * 32, "1" * 32)]


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
