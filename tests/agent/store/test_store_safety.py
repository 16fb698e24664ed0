"""Captures, deletes, sweeps and repacks in any order, with a clock, faults and other agents at any call: nothing is ever lost.

Chunks are single pages here, so that thousands of stores fit into a second.
"""

from datetime import timedelta
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrek_agent.errors import ArtifactError, KeyMissingError
from chrek_agent.store.chunking import PAGE
from chrek_agent.store.model import digest_manifest
from chrek_agent.store.protection import Protection
from chrek_agent.store.sealing import NO_KEYS, Keyring
from chrek_agent.store.store import Store

HASH = "5941a4cb3c363457"
GRACE = timedelta(hours=2)
AGENTS = (Keyring(bytes(32), [bytes([1]) * 32]), Keyring(bytes([1]) * 32, [bytes(32)]), NO_KEYS)
EVENTS = ("die before", "die after", "fail before", "fail after", "sweep", "repack", "delete", "capture")
KINDS = {"begin": 6, "commit": 6, "delete": 4, "sweep": 6, "repack": 2, "tick": 6}


def history(random, length=40):
    """Steps: a kind, its subject, the content of a capture, and what happens at which of the step's calls."""
    for kind in random.choices(list(KINDS), KINDS.values(), k=length):
        subject = random.choice([20, 70, 130]) if kind == "tick" else random.randrange(3)
        content = frozenset(random.sample(range(1, 7), random.randint(1, 4)))
        number = random.choice([0, 0, 0, 0, 0, 0, 1, 2, 2, 3])
        yield kind, subject, content, {random.randrange(10): random.choice(EVENTS) for _ in range(number)}


class World:
    """One store, what ought to be in it, and captures under way."""

    def __init__(self, raw, faulty, crash, make_fields, scratch, *, sealed=False):
        self.sealed = sealed
        self.raw, self.faulty, self.crash = raw, faulty, crash
        self.make_fields, self.scratch = make_fields, scratch
        self.number = 0
        self.history = []
        self.committed = {}
        self.open = {}

    def store(self, backend=None):
        """As one of several agents opens it: the key has been rotated, and not all have seen that; one has none at all."""
        return self.opened(AGENTS[len(self.history) % len(AGENTS)] if self.sealed else NO_KEYS, backend)

    def opened(self, keys, backend=None):
        return Store(backend or self.raw, self.scratch, protection=Protection(keys))

    def step(self, kind, subject, content, fault):
        self.history.append((kind, subject, sorted(content), {key: str(event) for key, event in fault.items()}))
        if kind == "tick":
            self.raw.now += timedelta(minutes=subject)
        elif kind == "begin":
            self.begin(subject, content, fault)
        elif kind == "commit":
            self.commit(subject, fault)
        else:
            backend = self.armed(self.faulty(self.raw), fault)
            calls = {"delete": self.delete, "sweep": self.sweep, "repack": self.repack}
            self.survive(lambda: calls[kind](self.store(backend), subject))

    def armed(self, backend, fault):
        acts = {"sweep": self.sweep, "repack": self.repack, "delete": self.delete, "capture": self.capture}
        backend.arm({number: partial(acts[event], self.store(), 0) if event in acts else event for number, event in fault.items()})
        return backend

    def survive(self, call):
        """Whether it went well; a death or a fault is no surprise."""
        try:
            call()
        except (self.crash, OSError):
            return False
        return True

    def begin(self, slot, content, fault):
        self.leave(slot)
        backend = self.faulty(self.raw)
        self.number += 1
        generation = f"g{self.number}"

        def start():
            writer = self.store(self.armed(backend, fault)).begin(generation)
            self.open[slot] = backend, writer, generation, content, self.raw.now
            self.fill(writer, content)

        if not self.survive(start):
            self.leave(slot)

    def fill(self, writer, content):
        for owner, page in [(0, bytes(PAGE)), *((letter, bytes([letter]) * PAGE) for letter in sorted(content))]:
            run = writer.add_run("private", owner, 0)
            run.write(memoryview(page))
            run.close()

    def commit(self, slot, fault):
        if slot not in self.open:
            return
        backend, writer, generation, content, begun = self.open.pop(slot)
        self.armed(backend, fault)
        digest = None
        try:
            _, digest = writer.commit(self.make_fields())
        except (ArtifactError, KeyMissingError):
            assert self.raw.now - begun >= GRACE, "a chunk has gone during a capture"
            self.survive(writer.abandon)
        except (self.crash, OSError):
            self.survive(writer.abandon)
        there = f"{HASH}/{generation}/manifest.json" in self.raw.objects
        assert there or digest is None, "a commit that succeeded left nothing"
        if there:
            assert digest is not None or backend.dead or "fail before" in fault.values(), "a commit that failed left an artifact"
            self.committed[generation] = content

    def leave(self, slot):
        if slot in self.open:
            self.survive(self.open.pop(slot)[1].abandon)

    def capture(self, store, _):
        self.number += 1
        generation, content = f"g{self.number}", {1, 2, 9}
        with store.begin(generation) as writer:
            self.fill(writer, content)
            writer.commit(self.make_fields())
        self.committed[generation] = content

    def delete(self, store, number):
        if self.committed:
            generation = sorted(self.committed)[number % len(self.committed)]
            del self.committed[generation]
            try:
                store.delete(HASH, {generation})
            finally:
                if f"{HASH}/{generation}/manifest.json" in self.raw.objects:
                    self.committed[generation] = self.content_of(generation)

    def content_of(self, generation):
        (manifest,) = [found for found in self.store().find(HASH, "uid-1") if found.generation == generation]
        return {run.owner for run in manifest.memory if run.owner}

    def sweep(self, store, _):
        store.sweep(self.raw.now, GRACE)

    def repack(self, store, _):
        store.repack(self.raw.now, GRACE, 0.9)

    def check(self):
        """Every artifact that was committed and not deleted is there, whole, and its own."""
        store = self.opened(AGENTS[0])
        found = {manifest.generation: manifest for manifest in store.find(HASH, "uid-1")}
        assert found.keys() == self.committed.keys()
        for generation, manifest in found.items():
            content = self.raw.objects[f"{HASH}/{generation}/manifest.json"][0]
            with store.open(HASH, generation, digest_manifest(content)) as artifact:
                artifact.verify()
                letters = {run.owner: chunk for run in manifest.memory for chunk in artifact.chunks(run)}
                assert letters.keys() == set(self.committed[generation])
                for letter, chunk in letters.items():
                    assert bytes(artifact.fetch(chunk)) == bytes([letter]) * PAGE

    def settle(self):
        """In the end what is dead goes, and nothing else."""
        for slot in list(self.open):
            self.leave(slot)
        for _ in range(4):
            self.raw.now += GRACE + timedelta(minutes=1)
            self.sweep(self.store(), None)
            self.repack(self.store(), None)
            self.check()
        self.raw.now += GRACE + timedelta(minutes=1)
        self.sweep(self.store(), None)
        self.raw.now += GRACE + timedelta(minutes=1)
        self.sweep(self.store(), None)
        usage = self.store().usage()
        needed = set().union(*self.committed.values()) if self.committed else set()
        assert usage.logical == sum((len(content) + 1) * PAGE for content in self.committed.values())
        assert usage.reclaimable <= usage.shared + usage.unique
        assert usage.shared + usage.unique == len(needed) * PAGE
        assert not [key for key in self.raw.objects if key.startswith("tombstones/")] or usage.reclaimable
        if not self.committed:
            assert self.raw.objects == {}
            assert self.raw.unfinished == {}


@pytest.fixture(scope="session")
def make_world(memory_backend, faulty, crash, make_fields, scratch):
    return lambda **options: World(memory_backend(), faulty, crash, make_fields, scratch(), **options)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_nothing_that_is_needed_ever_goes_and_all_that_is_not_does(make_world, seed):
    world = make_world()
    for step in history(Random(seed)):
        world.step(*step)
        world.check()
    world.settle()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_neither_does_anything_where_agents_have_different_keys(make_world, seed):
    world = make_world(sealed=True)
    for step in history(Random(seed)):
        world.step(*step)
        world.check()
    world.settle()
