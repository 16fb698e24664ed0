"""Loaders that are real processes on a fake driver, and GPU memory for them to load."""

import ctypes
import json
import logging
import random
import sys
from contextlib import suppress
from pathlib import Path

from fake_cuda import GRAIN, uuid

from chrek_agent.apart import beside, loaders
from chrek_worker.apart.cuda import CudaMemory
from chrek_worker.apart.driver import Driver

MIB = 1 << 20
NOISE = random.Random(3).randbytes(12 * MIB)
PROGRAM = Path(__file__).with_name("fake_loader.py")


class Started(list):
    """The loaders that were started, on a fake driver."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        started = self

        class Noted(loaders.Loader):
            def __init__(self, *words):
                super().__init__(*words)
                started.append(self)

        monkeypatch.setattr(beside, "Loader", Noted)
        monkeypatch.setattr(beside, "LEAST", 0)
        monkeypatch.setattr(loaders, "PATIENCE", 20.0)
        self.go()

    def go(self, **said):
        """Says what is to go wrong in them."""
        self._monkeypatch.setattr(loaders, "COMMAND", [sys.executable, str(PROGRAM), json.dumps(said)])

    @property
    def are_gone(self):
        """Once they are, which must not take long."""
        return all(loader._process.wait(10) is not None for loader in self)


def same(*_):
    """All GPUs are where they were."""
    return {uuid(number): uuid(number) for number in range(4)}


def filled(cuda, device=0, sizes=(3 * MIB, 20 * MIB, 2 * MIB, 9 * MIB + 5)):
    """Memory on a GPU, with stretches of zeros in some of it."""
    memory = CudaMemory(Driver(device, cuda))
    for number, size in enumerate(sizes):
        address = memory.allocate(size)
        ctypes.memset(address, 0, -(-size // GRAIN) * GRAIN)
        for start in range(number * 4096, size, 18 * MIB):
            content = NOISE[: min(len(NOISE), size - start)]
            ctypes.memmove(address + start, content, len(content))
    return memory


def content(memory):
    return [ctypes.string_at(region.address, region.length) for region in memory.regions()]


def descriptors():
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(path.readlink()))
    return sorted(found)


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def loaded_alone(cuda, world, caplog, place=same):
    """It is loaded by the worker itself; returns what was said of that."""
    memory = filled(cuda, sizes=(5 * MIB, 2 * MIB))
    before = content(memory)
    manifest, digest = world.save([memory])
    world.vacate()
    await world.load(manifest, digest, place)
    assert content(memory) == before
    assert not memory.is_borrowed
    return warnings(caplog)
