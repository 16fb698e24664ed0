"""Whatever keeps the agent from loading GPU memory beside a restore, the worker loads it by itself, and no loader is left."""

import asyncio
import socket

import pytest
from apart_world import HASH
from fake_cuda import uuid
from loader_world import content, descriptors, filled, loaded_alone, same, warnings

from chrek_agent.apart import beside, layout, loaders
from chrek_agent.apart.serving import Serving
from chrek_agent.errors import ArtifactError, RestoreError

MIB = 1 << 20


STEPS = """
cuInit cuDeviceGetCount cuDeviceGetUuid cuDevicePrimaryCtxRetain cuCtxSetCurrent cuMemGetInfo_v2 cuMemCreate cuMemAddressReserve
cuMemMap cuMemSetAccess cuMemExportToShareableHandle cuMemHostRegister_v2 cuStreamCreate cuMemcpyHtoDAsync_v2 cuMemsetD8Async
cuStreamSynchronize
"""


@pytest.mark.parametrize("step", STEPS.split())
async def test_whatever_fails_the_worker_loads_by_itself(cuda, world, started, caplog, step):
    started.go(failing={step: 2})
    memory = filled(cuda, sizes=(20 * MIB, 2 * MIB))
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    await world.load(manifest, digest, same)
    assert content(memory) == before
    assert not memory.is_borrowed
    (warning,) = warnings(caplog)
    assert f"which takes longer: {step}: CUDA_ERROR_OUT_OF_MEMORY" in warning
    assert started.are_gone


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"dies": ["cuInit"]}, "it has ended"),
        ({"dies": ["cuMemExportToShareableHandle"]}, "it has ended"),
        ({"hangs": ["cuStreamSynchronize"]}, "it has said nothing for 0.1 s"),
        ({"devices": 0}, "the agent does not see this GPU"),
        ({"reader": "dies"}, "a reader has died"),
        ({"reader": "fails"}, "a pack is shorter than its index says"),
        ({"library": False}, "libcuda.so.1: cannot open shared object file"),
    ],
)
async def test_one_that_dies_or_hangs_or_has_no_gpu(cuda, world, started, caplog, monkeypatch, said, reason):
    monkeypatch.setattr(loaders, "SILENCE", 0.1 if "hangs" in said else 20.0)
    started.go(**said)
    memory = filled(cuda, sizes=(5 * MIB,))
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    await world.load(manifest, digest, same)
    assert content(memory) == before
    assert not memory.is_borrowed
    (warning,) = warnings(caplog)
    assert reason in warning
    assert started.are_gone


async def test_where_there_is_no_room_for_two(cuda, world, started, caplog, monkeypatch):
    monkeypatch.setattr("chrek_agent.apart.shares._CONTEXT", 9 << 30)
    (warning,) = await loaded_alone(cuda, world, caplog)
    assert "8192 MiB of the GPU's memory are free, and 9224 MiB are needed" in warning


async def test_a_gpu_that_the_container_does_not_have(cuda, world, started, caplog):
    (warning,) = await loaded_alone(cuda, world, caplog, lambda *_: {uuid(7): uuid(7)})
    assert f"{uuid(0)} is not among the GPUs that the capture has noted" in warning
    assert started.are_gone


async def test_gpus_that_are_not_like_those_of_the_capture(cuda, world, started, caplog):
    def place(*_):
        raise RestoreError("captured on 2 GPUs, here there is 1 GPU")

    (warning,) = await loaded_alone(cuda, world, caplog, place)
    assert "captured on 2 GPUs, here there is 1 GPU" in warning
    assert started.are_gone


async def test_a_loader_that_cannot_be_started(cuda, world, monkeypatch, caplog):
    monkeypatch.setattr(beside, "LEAST", 0)
    monkeypatch.setattr(loaders, "COMMAND", ["/nowhere/python"])
    (warning,) = await loaded_alone(cuda, world, caplog)
    assert "No such file" in warning


async def test_what_is_in_no_plain_files(cuda, world, started, caplog, monkeypatch):
    monkeypatch.setattr(layout, "_SCATTERED", 0)
    (warning,) = await loaded_alone(cuda, world, caplog)
    assert "not all of it lies in files of this node as it is" in warning


async def test_a_driver_that_does_not_take_it(cuda, world, started, caplog, capsys):
    cuda.failing["cuMemImportFromShareableHandle"] = 2
    assert await loaded_alone(cuda, world, caplog) == []
    assert "loaded anew: cuMemImportFromShareableHandle: CUDA_ERROR_OUT_OF_MEMORY" in capsys.readouterr().err


async def test_memory_of_another_gpu_is_not_taken(cuda, world, started, caplog, capsys):
    cuda.here = 1
    assert await loaded_alone(cuda, world, caplog) == []
    assert "memory of another GPU" in capsys.readouterr().err
    assert not cuda.imported


async def test_a_driver_that_takes_too_long_to_start(cuda, world, started, caplog, monkeypatch):
    monkeypatch.setattr(loaders, "PATIENCE", 0.05)
    started.go(hangs=["cuDevicePrimaryCtxRetain"])
    (warning,) = await loaded_alone(cuda, world, caplog)
    assert "the driver was not ready for it when the worker was" in warning
    assert started.are_gone


async def test_nobody_goes_on_with_what_has_changed_whoever_has_loaded_it(cuda, world, started, caplog):
    """Its loader finds it, and then whoever verifies it for the worker."""
    memory = filled(cuda, sizes=(5 * MIB,))
    manifest, digest = world.save([memory])
    pack = max((world.store.backend.base / "packs").glob("*.pack"), key=lambda path: path.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"changed")
    world.vacate()
    with pytest.raises(OSError, match="has changed"):
        await world.load(manifest, digest, same)
    assert ["a chunk in a pack has changed" in warning for warning in warnings(caplog)][:1] == [True]
    assert started.are_gone


@pytest.mark.parametrize("hangs", ["cuInit", "cuMemCreate", "cuStreamSynchronize", "nothing"])
async def test_a_restore_that_ends_leaves_no_loader(cuda, world, started, caplog, hangs):
    started.go(hangs=[hangs])
    memory = filled(cuda, sizes=(5 * MIB,))
    manifest, digest = world.save([memory])
    before = descriptors()
    with world.store.open(HASH, manifest.generation, digest) as artifact:
        async with Serving(world.container, artifact, same) as serving:
            if hangs != "cuInit":
                serving.verify()
            while not started:
                await asyncio.sleep(0.001)
    assert started.are_gone
    assert descriptors() == before
    assert warnings(caplog) == []


@pytest.mark.parametrize("said", [b"", b'{"gpu": "%s", "lengths": [4096], "spare": 0, "began": 0}\n' % uuid(0).encode()])
def test_a_loader_whose_agent_dies_ends(started, said):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, loaders._start(theirs) as process:
        process.communicate(said, timeout=10)
        assert process.returncode == 0


async def test_damaged_notes_are_told_of_and_nothing_more(cuda, world, started, caplog, monkeypatch):
    monkeypatch.setattr("chrek_agent.apart.allocations.dump", None)
    monkeypatch.setattr("chrek_agent.apart.saving.dump", lambda _: b'{"allocations": 7}')
    (warning,) = await loaded_alone(cuda, world, caplog)
    assert "apart.json is damaged" in warning
    assert started == []


async def test_an_artifact_that_is_not_what_was_captured_stops_the_loaders(cuda, world, started, monkeypatch):
    memory = filled(cuda, sizes=(2 * MIB,))
    manifest, digest = world.save([memory])
    world.vacate()

    def refuse(*_):
        raise ArtifactError("is corrupt")

    monkeypatch.setattr("chrek_agent.apart.serving.chunked", refuse)
    with pytest.raises(OSError, match="is corrupt"):
        await world.load(manifest, digest, same)
    assert started.are_gone
