"""Sweep and repack, step by step: each of the rules that keep what is needed, and that let go what is not."""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.store.chunking import PAGE
from chrek_agent.store.model import digest_manifest
from chrek_agent.store.store import Store
from chrek_agent.store.sweep import GRACE

HASH = "5941a4cb3c363457"
LONG = GRACE + timedelta(minutes=1)


class Lab:
    """A store in memory whose clock stands still unless it is told."""

    def __init__(self, backend, scratch, make_fields):
        self.backend, self.scratch, self.make_fields = backend, scratch, make_fields
        self.store = Store(backend, scratch)
        self.digests = {}

    def begin(self, generation, *letters, store=None):
        writer = (store or self.store).begin(generation)
        for letter in letters:
            run = writer.add_run("private", ord(letter), 0)
            run.write(memoryview(letter.encode() * PAGE))
            run.close()
        return writer

    def finish(self, writer, generation):
        manifest, self.digests[generation] = writer.commit(self.make_fields())
        return manifest

    def commit(self, generation, *letters):
        return self.finish(self.begin(generation, *letters), generation)

    def delete(self, generation):
        self.store.delete(HASH, {generation})

    def verify(self, generation):
        return self.store.verify(HASH, generation, self.digests[generation])

    def sweep(self, after=timedelta(0)):
        self.backend.now += after
        return self.store.sweep(self.backend.now)

    def repack(self):
        return self.store.repack(self.backend.now)

    def names(self, prefix):
        return [key.removeprefix(prefix) for key in sorted(self.backend.objects) if key.startswith(prefix)]


@pytest.fixture
def lab(memory_backend, tmp_path, make_fields):
    return Lab(memory_backend(), tmp_path / "scratch", make_fields)


def test_what_is_dead_goes_in_two_phases(lab):
    (pack,) = lab.commit("g-1", "a", "b").packs
    lab.delete("g-1")
    assert lab.sweep() == lab.sweep(GRACE - timedelta(minutes=1)) != lab.sweep(timedelta(minutes=2))
    assert lab.names("tombstones/") == [pack]
    assert lab.sweep(GRACE - timedelta(minutes=1)).deleted == []
    swept = lab.sweep(timedelta(minutes=1))
    assert (swept.deleted, swept.deleted_bytes) == ([pack], 2 * PAGE)
    assert lab.backend.objects == {}


def test_what_is_needed_stays(lab):
    lab.commit("g-1", "a", "b")
    lab.commit("g-2", "b", "c")
    lab.delete("g-1")
    for _ in range(4):
        assert lab.sweep(LONG).tombstoned == []
    lab.verify("g-2")


def test_a_capture_does_not_rely_on_a_pack_that_is_about_to_go(lab):
    (old,) = lab.commit("g-1", "a").packs
    lab.delete("g-1")
    lab.sweep(LONG)
    manifest = lab.commit("g-2", "a")
    assert old not in manifest.packs
    lab.sweep(LONG)
    assert f"packs/{old}.pack" not in lab.backend.objects
    lab.verify("g-2")


def test_a_capture_copies_what_was_found_dead_while_it_ran(lab):
    (old,) = lab.commit("g-1", "a", "b").packs
    lab.backend.now += LONG
    writer = lab.begin("g-2", "a", "c")
    assert writer.stored_bytes == PAGE
    lab.delete("g-1")
    assert lab.sweep().tombstoned == [old]
    manifest = lab.finish(writer, "g-2")
    assert manifest.sizes.stored == 2 * PAGE
    assert old not in manifest.packs
    lab.sweep(LONG)
    assert f"packs/{old}.pack" not in lab.backend.objects
    lab.verify("g-2")


def test_a_capture_that_outlives_the_grace_fails_cleanly(lab):
    lab.commit("g-1", "a")
    lab.backend.now += LONG
    writer = lab.begin("g-2", "a", "c")
    lab.delete("g-1")
    lab.sweep()
    lab.sweep(LONG)
    with pytest.raises(ArtifactError, match="vanished from the store during the capture"):
        lab.finish(writer, "g-2")
    writer.abandon()
    assert lab.names(HASH) == []
    lab.commit("g-3", "a", "c")
    lab.verify("g-3")


@pytest.mark.parametrize("moment", ["put", "list"])
def test_a_pack_found_dead_at_the_moment_of_the_commit_is_safe(lab, faulty, moment):
    (old,) = lab.commit("g-1", "a").packs
    lab.backend.now += LONG
    backend = faulty(lab.backend)
    writer = lab.begin("g-2", "a", store=Store(backend, lab.scratch))
    lab.delete("g-1")
    number = {"list": 0, "put": 2}[moment]
    backend.arm({number: lab.sweep})
    lab.finish(writer, "g-2")
    assert lab.names("tombstones/") == [old]
    for _ in range(3):
        lab.sweep(LONG)
        lab.verify("g-2")
    assert lab.names("tombstones/") == []


def test_a_tombstone_is_lifted_when_a_manifest_names_the_pack_after_all(lab, faulty, crash):
    (old,) = lab.commit("g-1", "a").packs
    lab.backend.now += LONG
    backend = faulty(lab.backend)
    writer = lab.begin("g-2", "a", store=Store(backend, lab.scratch))
    lab.delete("g-1")
    backend.arm({2: lab.sweep, 3: "die before"})
    with pytest.raises(crash):
        lab.finish(writer, "g-2")
    assert lab.names("tombstones/") == [old]
    (manifest,) = lab.store.find(HASH, "uid-1")
    assert lab.sweep(LONG).lifted == [old]
    assert lab.names("tombstones/") == []
    assert lab.sweep(LONG).deleted == []
    with lab.store.open(HASH, "g-2", digest_of(lab, "g-2")) as artifact:
        artifact.verify()
        assert artifact.manifest == manifest


def digest_of(lab, generation):
    return digest_manifest(lab.backend.objects[f"{HASH}/{generation}/manifest.json"][0])


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("event", ["fail before", "die before", "die after"])
def test_a_sweep_that_breaks_off_loses_nothing_and_the_next_one_finishes(lab, faulty, crash, call, event):
    lab.commit("g-1", "a", "b")
    lab.backend.now += LONG
    lab.commit("g-2", "b", "c")
    lab.commit("g-3", "d")
    lab.delete("g-3")
    lab.delete("g-1")
    lab.sweep(LONG)
    lab.backend.now += LONG
    backend = faulty(lab.backend)
    backend.arm({call: event})
    with suppress(OSError, crash):
        Store(backend, lab.scratch).sweep(lab.backend.now)
    lab.verify("g-2")
    lab.sweep(LONG)
    lab.sweep(LONG)
    lab.verify("g-2")
    assert len(lab.names("packs/")) == 4
    assert lab.names("tombstones/") == []


def test_a_manifest_that_cannot_be_read_keeps_everything(lab):
    lab.commit("g-1", "a")
    lab.delete("g-1")
    lab.sweep(LONG)
    lab.backend.put(f"{HASH}/g-9/manifest.json", b'{"format": 7}')
    before = dict(lab.backend.objects)
    lab.backend.now += LONG
    assert "g-9/manifest.json cannot be read" in lab.sweep().abandoned
    assert "g-9/manifest.json cannot be read" in lab.repack().abandoned
    assert lab.backend.objects == before
    assert lab.store.usage().unreadable == [f"{HASH}/g-9/manifest.json"]
    lab.delete("g-9")
    assert len(lab.sweep().deleted) == 1


def test_a_pack_with_a_damaged_index_is_kept(lab):
    (pack,) = lab.commit("g-1", "a").packs
    key = f"packs/{pack}.index"
    whole, at = lab.backend.objects[key]
    lab.backend.objects[key] = whole[:-1] + b"x", at
    for _ in range(4):
        assert lab.sweep(LONG).tombstoned == []
    lab.backend.objects[key] = whole, at
    lab.verify("g-1")


def test_a_pack_of_which_the_index_was_damaged_later_is_kept(lab):
    (pack,) = lab.commit("g-1", "a").packs
    lab.delete("g-1")
    lab.sweep(LONG)
    whole, at = lab.backend.objects[f"packs/{pack}.index"]
    lab.backend.objects[f"packs/{pack}.index"] = whole[:-1] + b"x", at
    assert lab.sweep(LONG).deleted == []
    lab.backend.objects[f"packs/{pack}.index"] = whole, at
    assert lab.sweep().deleted == [pack]


@pytest.mark.parametrize("call", range(10))
def test_an_artifact_deleted_during_a_sweep_endangers_no_other(lab, faulty, call):
    (pack,) = lab.commit("g-2", "a", "b").packs
    lab.commit("g-1", "a", "c")
    lab.backend.now += LONG
    backend = faulty(lab.backend)
    backend.arm({call: lambda: lab.delete("g-1")})
    assert pack not in Store(backend, lab.scratch).sweep(lab.backend.now).tombstoned
    lab.verify("g-2")


def test_what_a_killed_capture_left_goes(lab, faulty, crash):
    for call in range(12):
        backend = faulty(lab.backend)
        backend.arm({call: "die after"})
        with suppress(OSError, crash):
            lab.finish(lab.begin(f"g-{call}", "a", "b", store=Store(backend, lab.scratch)), f"g-{call}")
        lab.delete(f"g-{call}")
        lab.backend.now += timedelta(seconds=1)
    lab.sweep(LONG)
    lab.sweep(LONG)
    assert lab.backend.objects == {}
    assert lab.backend.unfinished == {}


def test_staging_of_dead_captures_goes_after_the_grace(tmp_path):
    store = Store.at(tmp_path / "store")
    old, new = store.begin("g-old"), store.begin("g-new")
    for writer, hours in ((old, 3), (new, 1)):
        (writer.staging / "core.img").write_bytes(b"x")
        at = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
        for path in (writer.staging / "core.img", writer.staging):
            os.utime(path, (at, at))
    store.sweep(datetime.now(UTC))
    assert [path.name for path in store.scratch.iterdir()] == ["g-new"]
    for writer in (old, new):
        writer.abandon()


def test_a_pack_mostly_dead_is_repacked_and_its_room_returns(lab):
    (old,) = lab.commit("g-1", *"abcdef").packs
    lab.commit("g-2", "a", "x")
    lab.delete("g-1")
    lab.backend.now += LONG
    repacked = lab.repack()
    assert (repacked.packs, repacked.copied_bytes) == ([old], PAGE)
    lab.verify("g-2")
    assert lab.repack().packs == []
    lab.sweep(LONG)
    assert f"packs/{old}.pack" not in lab.backend.objects
    manifest = lab.verify("g-2")
    assert old in manifest.packs, "the manifest is not touched"
    assert lab.store.usage().reclaimable == 0


def test_a_pack_mostly_alive_or_new_is_not_repacked(lab):
    lab.commit("g-1", *"abcdef")
    lab.commit("g-2", "a", "x")
    lab.commit("g-3", *"abcd")
    lab.delete("g-1")
    lab.backend.now += LONG
    assert lab.repack().packs == []
    lab.commit("g-4", *"uvwxyz")
    lab.commit("g-5", "u", "v")
    lab.delete("g-4")
    assert lab.repack().packs == []
    lab.backend.now += LONG
    assert len(lab.repack().packs) == 1


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("event", ["fail before", "fail after", "die before", "die after"])
def test_a_killed_repack_loses_nothing(lab, faulty, crash, call, event):
    lab.commit("g-1", *"abcdef")
    lab.commit("g-2", "a", "x")
    lab.delete("g-1")
    lab.backend.now += LONG
    backend = faulty(lab.backend)
    backend.arm({call: event})
    with suppress(OSError, crash):
        Store(backend, lab.scratch).repack(lab.backend.now)
    lab.verify("g-2")
    for _ in range(5):
        lab.sweep(LONG)
        lab.repack()
        lab.verify("g-2")
    assert lab.store.usage().reclaimable == 0
    assert lab.names("tombstones/") == []


def test_two_repacks_at_once_lose_nothing(lab, faulty):
    lab.commit("g-1", *"abcdef")
    lab.commit("g-2", "a", "x")
    lab.delete("g-1")
    lab.backend.now += LONG
    backend = faulty(lab.backend)
    backend.arm({8: lab.repack})
    Store(backend, lab.scratch).repack(lab.backend.now)
    for _ in range(4):
        lab.sweep(LONG)
        lab.verify("g-2")
    assert lab.store.usage().reclaimable == 0


def test_a_repack_does_not_spread_damage(lab):
    (old,) = lab.commit("g-1", *"abcdef").packs
    lab.commit("g-2", "a", "x")
    lab.delete("g-1")
    content, at = lab.backend.objects[f"packs/{old}.pack"]
    lab.backend.objects[f"packs/{old}.pack"] = bytes([content[0] ^ 1]) + content[1:], at
    lab.backend.now += LONG
    repacked = lab.repack()
    assert (repacked.packs, repacked.damaged) == ([], [old])
    assert lab.names("tombstones/") == []


def test_a_damaged_pack_does_not_spoil_the_next_capture(lab):
    (old,) = lab.commit("g-1", "a", "b").packs
    content, at = lab.backend.objects[f"packs/{old}.pack"]
    lab.backend.objects[f"packs/{old}.pack"] = bytes([content[0] ^ 1]) + content[1:], at
    with pytest.raises(ArtifactError, match=f"in pack {old} has changed"):
        lab.verify("g-1")
    assert lab.commit("g-2", "a", "b").sizes.stored == 2 * PAGE
    lab.verify("g-2")
    lab.verify("g-1")
    lab.sweep(LONG)
    lab.sweep(LONG)
    lab.verify("g-1")


def test_usage_counts_every_byte_once(lab):
    lab.commit("g-1", "a", "b")
    lab.commit("g-2", "b", "c")
    lab.commit("g-3", "d")
    lab.delete("g-3")
    usage = lab.store.usage()
    assert [(one.generation, one.logical, one.stored, one.unique, one.shared) for one in usage.artifacts] == [
        ("g-1", 2 * PAGE, 2 * PAGE, PAGE, PAGE),
        ("g-2", 2 * PAGE, 2 * PAGE, PAGE, PAGE),
    ]
    assert (usage.logical, usage.unique, usage.shared, usage.reclaimable) == (4 * PAGE, 2 * PAGE, PAGE, PAGE)
    assert usage.stored == sum(len(data) for key, (data, _) in lab.backend.objects.items() if key.startswith("packs/"))


def test_a_store_that_is_empty_has_nothing_to_say(lab):
    assert lab.sweep(LONG).tombstoned == lab.repack().packs == lab.store.usage().artifacts == []
