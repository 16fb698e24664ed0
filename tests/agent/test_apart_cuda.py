"""GPU memory apart, on a driver that is a Python object: the calls, their order, and the bytes."""

import asyncio
import ctypes
import random
import sys

import pytest
from apart_world import HASH, fields
from fake_cuda import GRAIN, FakeTorch

from chrek_agent.apart import layout
from chrek_agent.apart.serving import Serving
from chrek_worker import apart as package
from chrek_worker.apart.cuda import CudaMemory
from chrek_worker.apart.driver import CudaError, Driver
from chrek_worker.apart.keeper import Keeper
from chrek_worker.apart.pool import Pools

MIB = 1 << 20


def fill(address, content):
    ctypes.memmove(address, content, len(content))


def content(address, length):
    return ctypes.string_at(address, length)


def is_tidy(cuda):
    return not cuda.registered and not cuda.streams


@pytest.mark.parametrize("scattered", [16, 0])
async def test_it_comes_back_at_its_addresses_and_leaves_nothing_meanwhile(cuda, world, monkeypatch, scattered):
    monkeypatch.setattr(layout, "_SCATTERED", scattered)  # 0: all of it is asked for piece by piece.
    memory = CudaMemory(Driver(0, cuda))
    sizes = [3 * MIB, 20 * MIB, 2 * MIB, 9 * MIB + 5]
    addresses = [memory.allocate(size) for size in sizes]
    regions = memory.regions()
    assert {region.length % GRAIN for region in regions} == {0}
    whole = random.Random(1).randbytes(20 * MIB)
    for address, size in zip(addresses, sizes, strict=True):
        fill(address, whole[:size])
    fill(addresses[1] + 4 * MIB, bytes(9 * MIB))  # Pieces without anything in them, of memory that is not zero when it is new.
    before = [content(region.address, region.length) for region in regions]
    manifest, digest = world.save([memory])
    assert is_tidy(cuda)
    world.vacate()
    assert not cuda.mapped
    assert not cuda.handles
    assert len(cuda.reserved) == len(sizes)
    shared, lane = set(), memory.lane
    monkeypatch.setattr(memory, "lane", lambda size, **words: shared.add(words["shared"]) or lane(size, **words))
    await world.load(manifest, digest)
    assert memory.regions() == regions
    assert [content(region.address, region.length) for region in regions] == before
    assert "cuMemsetD8Async" in cuda.calls
    assert shared == {not scattered}  # The agent writes to a slot of another kind.


async def test_a_range_that_has_not_come_through_is_had_again(cuda, world):
    memory = CudaMemory(Driver(0, cuda))
    address = memory.allocate(2 * MIB)
    fill(address, b"weights")
    manifest, digest = world.save([memory])
    world.vacate()
    refusals = iter([201])
    plain = cuda.cu_mem_create

    def once(*arguments):
        if next(refusals, 0):
            raise CudaError("cuMemCreate: CUDA_ERROR_INVALID_CONTEXT")
        plain(*arguments)

    cuda.cu_mem_create = once
    length, start = cuda.reserved.pop(address)
    cuda.cu_mem_address_reserve = lambda pointer, *_: (
        cuda.reserved.update({address: (length, start)}),
        setattr(pointer._obj, "value", address),
    )
    await world.load(manifest, digest)
    assert content(address, 7) == b"weights"


def test_a_refusal_names_the_call_and_leaves_nothing(cuda):
    memory = CudaMemory(Driver(0, cuda))
    cuda.failing["cuMemSetAccess"] = 2
    with pytest.raises(CudaError, match="cuMemSetAccess: CUDA_ERROR_OUT_OF_MEMORY"):
        memory.allocate(MIB)
    assert not cuda.reserved
    assert not cuda.handles
    assert memory.regions() == []


def test_torch_allocates_from_it_within_the_block(cuda):
    torch = FakeTorch()
    pools = Pools(torch, cuda)
    with pools.use():
        assert torch.inside == [0, ("pool", "allocator")]
        address = torch.alloc(5 * MIB, 0, None)
        spare = torch.alloc(4 * MIB, 0, None)
    with pools.use("cuda:1"):
        assert torch.inside[0] == 1
        other = torch.alloc(MIB, 1, None)
    assert torch.inside == []
    assert sorted(region.length for region in pools.memories[0].regions()) == [4 * MIB, 6 * MIB]
    assert [region.address for region in pools.memories[1].regions()] == [other]
    blocks = [{"size": MIB, "state": "active_allocated"}, {"size": 5 * MIB, "state": "inactive"}]
    torch.segments = [
        {"address": address, "blocks": blocks},
        {"address": spare, "blocks": [{"size": 4 * MIB, "state": "inactive"}]},
        {"address": 4096, "blocks": [{"size": 4096, "state": "active_allocated"}]},
    ]
    (stretch,) = pools.memories[0].stretches()  # What torch has not given out is worth nothing.
    assert (stretch.address, stretch.length) == (address, 2 * MIB)
    torch.free(spare, 4 * MIB, 0, None)
    assert [region.address for region in pools.memories[0].regions()] == [address]
    cuda.failing["cuMemCreate"] = 2
    assert torch.alloc(MIB, 0, None) is None


async def test_a_torch_program_leaves_and_comes_back(cuda, world, monkeypatch):
    """As a worker's hook does it: by the process's own keeper."""
    torch = FakeTorch()
    keeper = Keeper()
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr("chrek_worker.apart.keeper.Pools", lambda module: Pools(module, cuda))
    monkeypatch.setattr(package, "KEEPER", keeper)
    monkeypatch.delenv("DYN_CHECKPOINT_SIGNAL_FILE", raising=False)
    with package.weights():
        address = torch.alloc(5 * MIB, 0, None)
    fill(address, b"weights" + b"rubbish")
    blocks = [{"size": 7, "state": "active_allocated"}, {"size": 3 * MIB - 7, "state": "inactive"}]
    torch.segments = [{"address": address, "blocks": [*blocks, {"size": 3 * MIB, "state": "active_allocated"}]}]
    with world.saving() as saving:
        assert package.vacate() == saving.bytes == 6 * MIB
        assert not cuda.mapped
        assert torch.inside == ["emptied"]
        assert not package.wait(0)
        assert package.vacate() == 0
        with world.store.begin("g1") as writer:
            writer.join(saving.writer)
            manifest, digest = writer.commit(fields())
    with world.store.open(HASH, manifest.generation, digest) as artifact:
        async with Serving(world.container, artifact) as serving:
            serving.verify()
            assert await asyncio.to_thread(package.occupy) == serving.bytes
    assert content(address, 3 * MIB + 1) == b"weights" + bytes(3 * MIB - 7) + b"\xaa"
    assert package.wait()
    assert package.occupy() == 0


def test_without_a_gpu_nothing_of_torch_is_apart(monkeypatch):
    torch = FakeTorch()
    torch.cuda.is_available = lambda: False
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(package, "KEEPER", Keeper())
    with package.weights():
        assert torch.inside == []


def test_a_torch_without_pools_is_named():
    torch = FakeTorch()
    del torch.cuda.MemPool
    with pytest.raises(RuntimeError, match=r"torch 2\.11 has no torch.cuda.MemPool"):
        Pools(torch)
