"""GPU memory that processes of the agent's load while all else is restored: real processes and descriptors, on a fake driver."""

import asyncio
import ctypes
import logging
import os
import random

import pytest
from apart_world import HASH, fields
from fake_cuda import GRAIN, TOTAL, uuid
from loader_world import content, descriptors, filled, loaded_alone, same, warnings

from chrek_agent.apart import beside, channel, gpu
from chrek_agent.apart.allocations import Allocation
from chrek_agent.apart.channel import close_all
from chrek_agent.apart.serving import Serving
from chrek_agent.apart.shares import shares, spare
from chrek_agent.container import processes
from chrek_agent.cuda.evidence import gather
from chrek_agent.store.model import Run
from chrek_worker.apart.channel import ApartError, Channel
from chrek_worker.apart.host import HostMemory
from chrek_worker.apart.keeper import Keeper
from kubectl_chrek.api import names

MIB = 1 << 20
NOISE = random.Random(3).randbytes(12 * MIB)


async def test_the_worker_maps_what_the_agent_has_loaded(cuda, world, started, caplog):
    caplog.set_level(logging.INFO)
    started.go(sign=1)  # It speaks after each piece.
    memory, host = filled(cuda), HostMemory()
    view = host.allocate(3 * MIB)
    view[:] = NOISE[: 3 * MIB]
    before, regions = content(memory), memory.regions()
    manifest, digest = world.save([host, memory])
    world.vacate()
    assert not cuda.mapped
    open_before = len(descriptors())
    cuda.calls.clear()
    await world.load(manifest, digest, same)
    assert content(memory) == before
    assert bytes(view) == NOISE[: 3 * MIB]
    assert memory.regions() == regions
    assert len(cuda.imported) == len(regions)
    assert memory.is_borrowed
    assert {"cuMemCreate", "cuMemcpyHtoDAsync_v2", "cuMemHostRegister_v2"}.isdisjoint(cuda.calls)
    assert len(descriptors()) == open_before + len(regions)  # The fake's own.
    assert len(started) == 1
    assert started.are_gone
    assert warnings(caplog) == []
    assert "GiB of GPU memory loaded beside the restore at" in caplog.text


async def test_it_is_captured_and_restored_again(cuda, world, started):
    memory = filled(cuda)
    for _ in range(2):
        before = content(memory)
        manifest, digest = world.save([memory])
        world.vacate()
        assert not cuda.imported
        assert not cuda.handles
        assert not memory.is_borrowed
        await world.load(manifest, digest, same)
        assert content(memory) == before
        assert memory.is_borrowed
    assert len(started) == 2


async def test_each_gpu_has_a_loader_wherever_it_is_now(cuda, world, started):
    cuda.devices = 4
    started.go(devices=4)
    first, second = filled(cuda, 0), filled(cuda, 2, sizes=(5 * MIB,))
    before = content(first), content(second)
    manifest, digest = world.save([first, second])
    world.vacate()
    asked = []

    def place(frozen, pid):
        asked.append((frozen.pids, pid))
        return {uuid(0): uuid(3), uuid(2): uuid(1)}

    await world.load(manifest, digest, place)
    assert (content(first), content(second)) == before
    assert asked == [([], world.container.init)]
    assert len(started) == 2
    assert first.is_borrowed
    assert not second.is_borrowed  # The fake says that all it imports is on the first GPU.


@pytest.mark.parametrize(("devices", "shown"), [(("nvidia0", "nvidia1"), uuid(1)), (("nvidia0", "nvidiactl", "nvidia-uvm"), None)])
def test_of_several_gpus_a_loader_has_the_driver_start_one(cuda, tmp_path, monkeypatch, devices, shown):
    monkeypatch.setattr(gpu, "DEVICES", str(tmp_path))
    monkeypatch.setattr(os, "environ", {})
    for name in devices:
        (tmp_path / name).touch()
    cuda.devices = 2
    assert gpu.Gpu(uuid(1), cuda).free() == TOTAL
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == shown


async def test_for_little_memory_nobody_is_started(cuda, world, started, caplog, monkeypatch):
    monkeypatch.setattr(beside, "LEAST", 9 * MIB)
    assert await loaded_alone(cuda, world, caplog) == []
    assert started == []


async def test_a_capture_of_before_is_loaded_as_before(cuda, world, started, caplog, monkeypatch):
    monkeypatch.setattr("chrek_worker.apart.saving._allocations", lambda _: {})
    assert await loaded_alone(cuda, world, caplog) == []
    assert started == []


async def test_a_worker_of_before_hears_nothing_new(cuda, world, started, caplog, monkeypatch):
    ask = Channel.ask

    def of_before(channel, message, *more):
        message.pop("handles", None)
        answer = ask(channel, message, *more)
        assert answer.pop("handles", []) == []
        return answer

    monkeypatch.setattr(Channel, "ask", of_before)
    (warning,) = await loaded_alone(cuda, world, caplog)
    assert "the worker's library is too old" in warning
    assert started.are_gone


async def test_a_pack_of_two_artifacts_is_loaded_by_the_agent_though_nobody_else_gets_it(cuda, world, started, caplog):
    memory = filled(cuda, sizes=(8 * MIB,))
    world.save([memory])
    ctypes.memset(memory.regions()[0].address, 0, MIB)
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    serving = await world.load(manifest, digest, same)
    assert any(each.fetched for each in serving.layouts.values())
    assert content(memory) == before
    assert memory.is_borrowed
    assert warnings(caplog) == []


async def test_what_is_not_as_it_was_is_loaded_by_the_worker(cuda, world, started):
    """What it has freed meanwhile is nobody's, and what it has made anew is not the same."""
    memory = filled(cuda, sizes=(4 * MIB, 4 * MIB, 4 * MIB))
    one, two, three = memory.regions()
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    memory.free(two.address)
    await world.load(manifest, digest, same)
    assert memory.regions() == [one, three]
    assert content(memory) == [before[0], before[2]]
    assert len(cuda.imported) == 2


async def test_of_too_many_the_largest_are_loaded(cuda, world, started, monkeypatch):
    monkeypatch.setattr(beside, "_MOST", 2)
    memory = filled(cuda, sizes=(2 * MIB, 8 * MIB, 4 * MIB, 2 * MIB))
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    await world.load(manifest, digest, same)
    assert content(memory) == before
    assert sorted(cuda.handles[number].length for number in cuda.imported) == [4 * MIB, 8 * MIB]


async def test_more_handles_than_a_message_holds(cuda, world, started, monkeypatch):
    monkeypatch.setattr("chrek_agent.apart.serving.BATCH", 2)
    memory = filled(cuda, sizes=(2 * MIB,) * 5)
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    await world.load(manifest, digest, same)
    assert content(memory) == before
    assert len(cuda.imported) == 5


def is_shown():
    """As an agent sees it."""
    return gather(processes.read_process(os.getpid())).borrows


async def test_borrowed_memory_is_never_left_to_the_driver(world, started, monkeypatch, cuda):
    """The driver would take it, and never give it back: it shows, and without an agent to give it to the hook refuses."""
    monkeypatch.delenv(names.ENV_SIGNAL_FILE, raising=False)
    memory = filled(cuda, sizes=(2 * MIB,))
    keeper = Keeper()
    keeper._pools = type("Pools", (), {"memories": {0: memory}, "trim": lambda _: None})()
    assert keeper.vacate() == 0
    for _ in range(2):
        with world.saving() as saving:
            assert keeper.vacate() == 2 * MIB
            assert not is_shown()
            with world.store.begin(f"g{len(started)}") as writer:
                saving.describe(writer.staging)
                writer.add_file("apart.json", writer.staging / "apart.json")
                writer.join(saving.writer)
                manifest, digest = writer.commit(fields())
        with world.store.open(HASH, manifest.generation, digest) as artifact:
            async with Serving(world.container, artifact, same) as serving:
                serving.verify()
                assert await asyncio.to_thread(keeper.occupy) == 2 * MIB
        assert is_shown()
        with pytest.raises(ApartError, match="could not bring this process back"):
            keeper.vacate()


async def test_what_was_handed_over_is_not_handed_over_again(cuda, world, started):
    """Nor can a worker have a descriptor closed while it is on its way to it."""
    memory = filled(cuda, sizes=(2 * MIB,))
    manifest, digest = world.save([memory])

    def talk():
        with Channel(world.path) as one, Channel(world.path) as other:
            assert one.ask({"do": "load", "handles": True})["handles"] == [[memory.regions()[0].address, 2 * MIB]]
            received = [one.hear()[1], one.hear()[1]]
            other.ask({"do": "loaded"})
            again = other.ask({"do": "load", "handles": True})
            received.append(other.hear()[1])
            close_all([descriptor for each in received for descriptor in each])
            return [len(each) for each in received], again["handles"]

    with world.store.open(HASH, manifest.generation, digest) as artifact:
        async with Serving(world.container, artifact, same) as serving:
            serving.verify()
            assert await asyncio.to_thread(talk) == ([1, 1, 1], [])
            with pytest.raises(channel.ApartError, match="handed over already"):
                started[0].descriptor(0)
    assert started.are_gone


def test_what_the_driver_may_need_beside(cuda):
    """All that the processes of one GPU have in the dump, and what it takes itself; of those without any nobody knows where."""
    one, two, far = (Allocation(1 << 40, GRAIN, gpu) for gpu in "aab")
    allocations = {5: [one], 6: [two], 7: [far]}
    memory = [Run(kind="private", owner=pid, start=4096, length=4096 * pid, chunks=[None]) for pid in (5, 6, 7, 8)]
    memory.append(Run(kind="shared", owner=5, start=0, length=4096, chunks=[None]))
    found = shares(allocations, 9)
    assert [(share.gpu, [owner for owner, _ in share.allocations]) for share in found] == [("a", [5, 6]), ("b", [7])]
    assert [spare(share, allocations, [5, 6, 7, 8], memory) for share in found] == [(3 << 30) + 19 * 4096, (2 << 30) + 15 * 4096]
    assert shares(allocations, 0) == []
