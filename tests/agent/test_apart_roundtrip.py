"""Whatever is kept apart comes back bit for bit, over a real socket and a real store, and nobody gets what is another's."""

import asyncio
import errno
import os
import random
from pathlib import Path

import pytest
from apart_world import HASH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrek_agent.apart import layout
from chrek_agent.apart import serving as module
from chrek_agent.apart.layout import Files, chunked, lay_out
from chrek_agent.apart.readonly import ReadOnly
from chrek_agent.errors import ArtifactError, RestoreError
from chrek_agent.store.local import DirectoryBackend
from chrek_agent.store.protection import Protection
from chrek_agent.store.sealing import Keyring
from chrek_agent.store.store import Store
from chrek_agent.telemetry.timing import Phases
from chrek_worker.apart import loading
from chrek_worker.apart.host import HostMemory
from chrek_worker.apart.region import GRAIN, Blocks, Region, pieces, unused, used

PAGE, MIB = 4096, 1 << 20
NOISE = random.Random(5).randbytes(8 * MIB)


def region(memory, size, stretches):
    """A buffer with noise at these pages."""
    view = memory.allocate(size)
    for page, count in stretches:
        start = page * PAGE % size
        end = min(size, start + count * PAGE)
        view[start:end] = NOISE[start % MIB :][: end - start]
    return view


SHAPES = st.lists(
    st.tuples(
        st.integers(1, 5 * MIB),
        st.lists(st.tuples(st.integers(0, 1400), st.integers(1, 700)), max_size=5),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=SHAPES, scattered=st.sampled_from([0, 1, 16]))
def test_any_regions_come_back_as_they_were(world, monkeypatch, shapes, scattered):
    monkeypatch.setattr(layout, "_SCATTERED", scattered)  # 0: all of it is asked for piece by piece.
    memory = HostMemory()
    views = [region(memory, size, stretches) for size, stretches in shapes]
    before = [bytes(view) for view in views]
    manifest, digest = world.save([memory])
    world.vacate()
    assert not any(any(view) for view in views)
    asyncio.run(world.load(manifest, digest))
    assert [bytes(view) for view in views] == before


async def test_a_pack_of_two_artifacts_is_not_handed_over(world):
    """The second one finds half of the first one's pack: its worker must not see the rest."""
    memory = HostMemory()
    view = memory.allocate(8 * MIB)
    view[:] = NOISE
    first = world.save([memory])
    view[4 * MIB :] = bytes(4 * MIB)
    second = world.save([memory])
    assert second[0].sizes.stored == 0
    for (manifest, digest), whole in ((first, True), (second, False)):
        with world.store.open(HASH, manifest.generation, digest) as artifact:
            files = Files(artifact)
            found = lay_out(chunked(artifact, manifest.memory), files)
            assert bool(files.descriptors) == bool(found.extents) == whole
            assert sum(length for _, length in found.fetched) == (0 if whole else 4 * MIB)
            files.close()
    world.vacate()
    await world.load(*second)
    assert bytes(view) == NOISE[: 4 * MIB] + bytes(4 * MIB)


class Elsewhere(DirectoryBackend):
    """A store that is not on this machine."""

    def local(self, key):
        return None


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, True),
        ({"compress": True}, True),  # Not what is apart.
        ({"protection": Protection(Keyring(bytes(32)))}, False),
        ({"backend": Elsewhere}, False),
    ],
)
async def test_every_kind_of_store_gives_it_back(world, tmp_path, options, whole):
    backend = options.pop("backend", DirectoryBackend)(tmp_path / "other")
    world.store = Store(backend, tmp_path / "scratch", **options)
    memory = HostMemory()
    view = region(memory, 5 * MIB, [(0, 512)])
    view[3 * MIB : 4 * MIB] = b"compresses well " * (MIB // 16)
    before = bytes(view)
    manifest, digest = world.save([memory])
    world.vacate()
    serving = await world.load(manifest, digest)
    assert bytes(view) == before
    (found,) = serving.layouts.values()
    assert bool(found.extents) == (not found.fetched) == whole


async def test_files_beside_are_no_part_of_its_packs(world):
    memory = HostMemory()
    view = region(memory, 2 * MIB, [(0, 512)])
    manifest, digest = world.save([memory], others=[("images.img", NOISE[3 * MIB :: -1])])
    with world.store.open(HASH, manifest.generation, digest) as artifact:
        places = {chunk.place.pack for run in manifest.memory for chunk in artifact.chunks(run)}
        assert places.isdisjoint(chunk.place.pack for blob in manifest.files.values() for chunk in artifact.chunks(blob))
        assert artifact.memory == []
    assert len(view) == 2 * MIB


@pytest.mark.parametrize("scattered", [16, 0])
async def test_nobody_goes_on_with_what_has_changed(world, monkeypatch, scattered):
    monkeypatch.setattr(layout, "_SCATTERED", scattered)
    memory = HostMemory()
    view = region(memory, 4 * MIB, [(0, 1024)])
    manifest, digest = world.save([memory])
    (pack,) = (world.store.backend.base / "packs").glob("*.pack")
    with pack.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"changed")
    world.vacate()
    with pytest.raises(OSError, match="has changed"):
        await world.load(manifest, digest)
    assert len(view) == 4 * MIB


async def test_the_packs_cannot_be_opened_for_writing(as_root, tmp_path):
    (tmp_path / "x.pack").write_bytes(b"content")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with ReadOnly(tmp_path) as directory:
        descriptor = directory.open("x.pack")
        with pytest.raises(OSError):
            directory.open("link")
    try:
        assert os.pread(descriptor, 7, 0) == b"content"
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            with pytest.raises(OSError) as caught:
                os.open(f"/proc/self/fd/{descriptor}", flags)
            assert caught.value.errno == errno.EROFS
    finally:
        os.close(descriptor)
    assert (tmp_path / "x.pack").read_bytes() == b"content"


async def test_where_there_are_no_such_mounts_it_is_asked_for(world, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSYS, "open_tree")

    monkeypatch.setattr(layout, "ReadOnly", refuse)
    memory = HostMemory()
    view = region(memory, 4 * MIB, [(0, 1024)])
    before = bytes(view)
    manifest, digest = world.save([memory])
    world.vacate()
    serving = await world.load(manifest, digest)
    assert bytes(view) == before
    assert serving.bytes == 4 * MIB


async def test_regions_that_were_not_saved_are_not_loaded(world):
    memory = HostMemory()
    view = region(memory, 2 * MIB, [(0, 512)])
    manifest, digest = world.save([memory])
    other = HostMemory()
    others = other.allocate(MIB)
    world.kept = {other: other.regions()}
    with pytest.raises(OSError, match="other regions than were saved"):
        await world.load(manifest, digest)
    assert (len(view), len(others)) == (2 * MIB, MIB)


async def test_a_worker_that_does_not_come_for_it_is_not_restored(world, monkeypatch):

    memory = HostMemory()
    view = region(memory, MIB, [(0, 9)])
    manifest, digest = world.save([memory])

    async def accept(*_, **__):
        return None

    monkeypatch.setattr(module.acceptance, "accept", accept)
    woken = []
    with world.store.open(HASH, manifest.generation, digest) as artifact:
        async with module.Serving(world.container, artifact) as serving:
            serving.verify()
            with pytest.raises(RestoreError, match="has not taken back"):
                await serving.accept({}, lambda: woken.append(1), Phases(), check=True)
    assert woken == [1]
    assert len(view) == MIB


async def test_damage_ends_it_whatever_the_worker_does(world, monkeypatch):
    memory = HostMemory()
    view = region(memory, 2 * MIB, [(0, 512)])
    manifest, digest = world.save([memory])
    (pack,) = (world.store.backend.base / "packs").glob("*.pack")
    with pack.open("r+b") as file:
        file.write(b"changed")

    async def accept(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(module.acceptance, "accept", accept)
    with world.store.open(HASH, manifest.generation, digest) as artifact:
        async with module.Serving(world.container, artifact) as serving:
            serving.verify()
            with pytest.raises(ArtifactError, match="has changed"):
                await serving.accept({}, lambda: None, Phases(), check=True)
    assert view[0] == NOISE[0]


async def test_more_files_than_a_message_holds(world, monkeypatch):
    monkeypatch.setattr("chrek_agent.apart.serving.BATCH", 1)
    monkeypatch.setattr("chrek_agent.store.pack.PACK_BYTES", MIB)
    monkeypatch.setattr("chrek_agent.store.deposit.PACK_BYTES", MIB)
    memory = HostMemory()
    view = region(memory, 8 * MIB, [(0, 2048)])
    before = bytes(view)
    manifest, digest = world.save([memory])
    assert len(manifest.packs) == 4
    world.vacate()
    await world.load(manifest, digest)
    assert bytes(view) == before


def test_pieces_and_stretches():
    assert [(p.address, p.length) for p in pieces([Region(PAGE, 5 * MIB)], 2 * MIB)] == [
        (PAGE, 2 * MIB),
        (PAGE + 2 * MIB, 2 * MIB),
        (PAGE + 4 * MIB, MIB),
    ]
    regions = [Region(10 * GRAIN, 4 * GRAIN), Region(20 * GRAIN, GRAIN), Region(30 * GRAIN, 3 * GRAIN)]
    in_use = [(10 * GRAIN + 5, 9), (13 * GRAIN - 1, 2), (30 * GRAIN, 3 * GRAIN), (5, 5), (20 * GRAIN, 0)]
    assert used(regions, Blocks(in_use)) == [
        Region(10 * GRAIN, GRAIN),
        Region(12 * GRAIN, 2 * GRAIN),
        Region(30 * GRAIN, 3 * GRAIN),
    ]
    assert used(regions, Blocks([(0, 100 * GRAIN)])) == regions
    assert unused([Region(100, 50)], Blocks([(90, 20), (120, 5), (140, 60), (300, 1)])) == [Region(110, 10), Region(125, 15)]
    assert unused([Region(100, 50), Region(200, 10)], Blocks([(100, 40), (0, 5)])) == [Region(140, 10), Region(200, 10)]
    assert unused([Region(100, 50)], Blocks([(0, 1000)])) == unused([], Blocks([(1, 1)])) == []
    assert loading.PIECE % GRAIN == 0


def test_a_buffer_is_there_as_long_as_somebody_has_it():
    memory = HostMemory()
    view = memory.allocate(3)
    assert len(view) == 3
    assert [one.length for one in memory.regions()] == [PAGE]
    del view
    assert memory.regions() == []
    with pytest.raises(ValueError):
        memory.allocate(0)


def test_nothing_of_the_ring_stays(world):
    memory = HostMemory()
    view = region(memory, 4 * MIB, [(0, 1024)])
    world.save([memory])
    held = [Path("/proc/self/maps").read_text(), *(os.fsdecode(_target(path)) for path in Path("/proc/self/fd").iterdir())]
    assert "chrek-apart" not in "".join(held)
    assert view[0] == NOISE[0]


def _target(path):
    try:
        return path.readlink()
    except OSError:
        return ""
