"""Sealed stores: what is in them cannot be read, changed or swapped without the key; with it nothing else is different."""

import os
import secrets
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrek_agent.errors import AgentError, ArtifactError, KeyMissingError, StoreError
from chrek_agent.store import index, repack
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.protection import Protection
from chrek_agent.store.sealing import NO_KEYS, Keyring, name_of
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.copying import copy
from kubectl_chrek.api.names import Cause

HASH = "5941a4cb3c363457"
FIRST, SECOND = (bytes([number]) * 32 for number in (1, 2))
SECRET = b"hf_" + secrets.token_hex(20).encode()
TEXT = b"the heap compresses, " * 5000
CONTENT = SECRET + os.urandom(CHUNK) + bytes(CHUNK) + TEXT + bytes(-(len(SECRET) + len(TEXT)) % PAGE)


def protection(current=FIRST, *older):
    return Protection(Keyring(current, older))


@pytest.fixture
def at(tmp_path):
    """A store in a directory, or over a backend, with these keys."""

    def make(*keys, backend=None, compress=False, base="store"):
        plain = Store.at(tmp_path / base)
        guarded = Protection(Keyring(*keys[:1], keys[1:]) if keys else NO_KEYS)
        return Store(backend or plain.backend, tmp_path / "scratch", compress=compress, protection=guarded)

    return make


@pytest.fixture
def capture(make_fields):
    def make(store, generation="g-1", *runs, uid="uid-1"):
        with store.begin(generation) as writer:
            for number, content in enumerate(runs or (CONTENT,)):
                run = writer.add_run("private", 1, number << 32)
                for offset in range(0, len(content), CHUNK):
                    run.write(memoryview(content)[offset : offset + CHUNK])
                run.close()
            # Last: beside the runs another thread would begin a pack of its own for it, now and then.
            (writer.staging / "inspect.json").write_bytes(b'{"environ": "TOKEN=%s"}' % SECRET)
            writer.add_file("inspect.json", writer.staging / "inspect.json")
            return writer.commit(make_fields(uid))

    return make


def read(store, digest, generation="g-1"):
    with store.open(HASH, generation, digest) as artifact:
        contents = []
        for run in artifact.manifest.memory:
            content = bytearray(run.length)
            buffer = memoryview(bytearray(CHUNK))
            for chunk in artifact.chunks(run):
                dense = artifact.fetch(chunk, buffer)
                artifact.check(chunk, dense)
                for offset, data in artifact.pieces(chunk, dense):
                    content[chunk.offset + offset : chunk.offset + offset + len(data)] = data
            contents.append(bytes(content))
        return contents


def objects(store):
    return {entry.key: store.backend.read(entry.key, 0, entry.size) for entry in store.backend.list("")}


def indexes(store):
    found = {}
    for key, content in objects(store).items():
        if key.endswith(".index"):
            pack = key.removeprefix("packs/").removesuffix(".index")
            found[pack] = index.parse_index(pack, content)
    return found


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_sealed_comes_back_and_nothing_of_it_can_be_seen(at, capture, compress, tmp_path):
    store = at(FIRST, compress=compress)
    manifest, digest = capture(store)
    assert read(store, digest) == [CONTENT]
    with store.open(HASH, "g-1", digest) as artifact:
        assert not artifact.is_remote
        assert {chunk.place.codec for chunk in artifact.chunks(manifest.memory[0])} == {"sealed"}
        (tmp_path / "out").mkdir()
        artifact.materialise(tmp_path / "out")
        assert SECRET in (tmp_path / "out" / "inspect.json").read_bytes()
    assert store.verify(HASH, "g-1", digest) == manifest
    for path in (path for path in store.backend.base.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert SECRET not in content
        assert TEXT[:64] not in content
    assert {found.key for found in indexes(store).values()} == {name_of(FIRST)}


def test_without_a_key_the_bytes_are_those_of_the_format_without_seals(at, capture):
    store = at()
    capture(store)
    assert {(found.key, record.tag) for found in indexes(store).values() for record in found.records.values()} == {("", b"")}
    assert any(SECRET in content for key, content in objects(store).items() if key.endswith(".pack"))
    assert all(content.startswith(b"chrekix2") for key, content in objects(store).items() if key.endswith(".index"))


def test_sealing_costs_no_room_but_for_tags(at, capture):
    plain, sealed = at(base="plain"), at(FIRST, base="sealed")
    first, _ = capture(plain)
    second, _ = capture(sealed)
    assert first.sizes == second.sizes
    assert (first.files, first.memory) == (second.files, second.memory)


@pytest.mark.parametrize("keys", [(), (SECOND,)])
def test_a_missing_or_a_wrong_key_is_one_line_and_no_damage(at, capture, keys):
    _, digest = capture(at(FIRST))
    store = at(*keys)
    for act in (store.open, store.verify):
        with pytest.raises(
            KeyMissingError, match=f"is sealed with key {name_of(FIRST)[:8]}, which this agent does not have"
        ) as caught:
            act(HASH, "g-1", digest)
        assert (caught.value.cause, "\n" in str(caught.value)) == (Cause.KEY, False)
        assert isinstance(caught.value, StoreError), "the artifact must not be withdrawn"
    assert not store.backend.list("tombstones/")
    assert read(at(FIRST), digest) == [CONTENT]


def test_old_keys_open_what_they_sealed_and_new_packs_are_under_the_new_one(at, capture):
    old, new = at(FIRST), at(SECOND, FIRST)
    _, first = capture(old)
    manifest, second = capture(new, "g-2")
    assert manifest.sizes.stored > CHUNK, "chunks under the old key were relied on"
    assert read(new, first) == read(new, second, "g-2") == [CONTENT]
    third, _ = capture(new, "g-3")
    assert third.sizes.stored == 0
    only = at(SECOND)
    assert read(only, second, "g-2") == [CONTENT]
    assert read(only, first) == [CONTENT], "the same chunks are under a key that is here"
    old.delete(HASH, {"g-2", "g-3"})
    assert read(old, first) == [CONTENT]


def test_a_store_may_be_sealed_in_part(at, capture):
    plain, sealed = at(), at(FIRST)
    _, before = capture(plain)
    manifest, after = capture(sealed, "g-2", CONTENT, os.urandom(PAGE))
    assert manifest.sizes.stored > CHUNK, "what lies open was relied on"
    assert read(sealed, before) == [CONTENT]
    assert read(plain, before) == [CONTENT]
    with pytest.raises(KeyMissingError):
        plain.open(HASH, "g-2", after)
    back, _ = capture(plain, "g-3")
    assert back.sizes.stored == 0
    assert back.packs == plain.find(HASH, "uid-1")[0].packs


def test_what_lay_open_goes_with_the_artifacts_that_need_it(at, capture, memory_backend, hour):
    backend = memory_backend()
    plain, sealed = at(backend=backend), at(FIRST, backend=backend)
    capture(plain)
    _, digest = capture(sealed, "g-2")
    sealed.delete(HASH, {"g-1"})
    for _ in range(3):
        backend.now += 3 * hour
        sealed.sweep(backend.now)
    assert {found.key for found in indexes(sealed).values()} == {name_of(FIRST)}
    assert read(sealed, digest, "g-2") == [CONTENT]


@pytest.mark.parametrize(("before", "after"), [((FIRST,), (SECOND, FIRST)), ((FIRST,), ()), ((), (FIRST,))])
def test_what_is_captured_after_a_change_of_keys_never_comes_to_need_the_former(at, capture, memory_backend, hour, before, after):
    backend = memory_backend()
    contents = [os.urandom(PAGE) for _ in range(4)]
    old, new = at(*before, backend=backend), at(*after, backend=backend)
    capture(old, "g-1", *contents)  # Its pack is used by more, and would be kept for that.
    backend.now += hour
    _, digest = capture(new, "g-2", contents[0])
    for _ in range(3):
        backend.now += 3 * hour
        new.sweep(backend.now)
        assert read(at(*after[:1], backend=backend), digest, "g-2") == contents[:1]


@pytest.mark.parametrize("keys", [(FIRST,), (SECOND, FIRST), (SECOND,), ()])
def test_a_repack_seals_anew_and_never_opens_for_good(at, capture, memory_backend, hour, keys):
    backend = memory_backend()
    store, content = at(FIRST, backend=backend), [os.urandom(PAGE) for _ in range(4)]
    capture(store, "g-1", *content)
    _, digest = capture(store, "g-2", content[0])
    store.delete(HASH, {"g-1"})
    backend.now += 10 * hour
    other = at(*keys, backend=backend)
    repacked = other.repack(backend.now, timedelta(hours=2), 0.9)
    able = FIRST in keys
    assert (len(repacked.packs), repacked.damaged) == (int(able), [])
    assert {found.key for found in indexes(store).values()} == {name_of(FIRST), *([name_of(keys[0])] if able else [])}
    for _ in range(2):
        backend.now += 3 * hour
        other.sweep(backend.now)
    assert read(at(FIRST, SECOND, backend=backend), digest, "g-2") == content[:1]


@pytest.mark.parametrize("batch", [repack.BATCH, 1])
def test_all_can_be_sealed_anew(at, capture, memory_backend, hour, monkeypatch, batch):
    monkeypatch.setitem(repack.repack.__kwdefaults__, "batch", batch)
    backend = memory_backend()
    contents = [os.urandom(PAGE) for _ in range(3)]
    _, first = capture(at(backend=backend), "g-1", *contents)
    _, second = capture(at(FIRST, backend=backend), "g-2", *contents[1:])
    new = at(SECOND, FIRST, backend=backend)
    assert new.reseal(backend.now).packs == [], "what is young belongs to captures that may be under way"
    backend.now += 3 * hour
    done = new.reseal(backend.now)
    assert len(done.packs) > 1
    assert done.damaged == []
    for _ in range(2):
        new.sweep(backend.now)
        backend.now += 3 * hour
    assert {found.key for found in indexes(new).values()} == {name_of(SECOND)}
    only = at(SECOND, backend=backend)
    assert (read(only, first), read(only, second, "g-2")) == (contents, contents[1:])
    assert new.reseal(backend.now).packs == []
    with pytest.raises(KeyMissingError, match="no key to seal with"):
        at(backend=backend).reseal(backend.now)


def test_a_capture_that_loses_its_pack_copies_chunks_under_its_own_key(at, capture, memory_backend, make_fields):
    backend = memory_backend()
    store = at(FIRST, backend=backend)
    manifest, _ = capture(store, "g-1", CONTENT)
    with store.begin("g-2") as writer:
        run = writer.add_run("private", 1, 0)
        run.write(memoryview(CONTENT)[:CHUNK])
        run.close()
        for pack in manifest.packs:
            backend.put(f"tombstones/{pack}", b"{}")
        again, digest = writer.commit(make_fields())
    assert not set(again.packs) & set(manifest.packs)
    assert {found.key for found in indexes(store).values()} == {name_of(FIRST)}
    with store.open(HASH, "g-2", digest) as artifact:
        artifact.verify()


class Sealed:
    """A small sealed artifact as objects in memory, to be altered again and again."""

    def __init__(self, make_backend, make_fields, scratch):
        self.make_backend, self.scratch = make_backend, scratch
        self.store = self.over(make_backend())
        with self.store.begin("g-1") as writer:
            for number in range(3):
                run = writer.add_run("private", 1, number << 32)
                run.write(memoryview(bytes([number + 1]) * 8 + os.urandom(2 * PAGE - 8)))
                run.close()
            _, self.digest = writer.commit(make_fields())
        self.objects = objects(self.store)
        self.contents = read(self.store, self.digest)

    def over(self, backend):
        return Store(backend, self.scratch, protection=protection())

    def altered(self, changes):
        backend = self.make_backend()
        for key, content in (self.objects | changes).items():
            backend.put(key, content)
        return self.over(backend)

    def refused(self, changes):
        store = self.altered(changes)
        with pytest.raises(AgentError):
            store.verify(HASH, "g-1", self.digest)
        with pytest.raises(AgentError):
            read(self.altered(changes), self.digest)


@pytest.fixture(scope="session")
def sealed(memory_backend, make_fields, scratch):
    return Sealed(memory_backend, make_fields, scratch())


def test_the_small_one_is_in_order(sealed):
    sealed.store.verify(HASH, "g-1", sealed.digest)
    assert [content[0] for content in sealed.contents] == [1, 2, 3]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bit_of_it_can_be_changed(sealed, data):
    key = data.draw(st.sampled_from(sorted(sealed.objects)))
    content = bytearray(sealed.objects[key])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    sealed.refused({key: bytes(content)})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bit_of_an_index_can_be_changed_by_somebody_who_makes_its_digest_anew(sealed, data):
    key = next(key for key in sealed.objects if key.endswith(".index"))
    content = bytearray(sealed.objects[key][:-32])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    sealed.refused({key: bytes(content) + index.blake3(content).digest()})


def test_chunks_cannot_change_places(sealed):
    """Not even when the index is made to tell of it: the additional data is the record, and the nonce the offset."""
    key = next(key for key in sealed.objects if key.endswith(".index"))
    pack = key.removeprefix("packs/").removesuffix(".index")
    found = index.parse_index(pack, sealed.objects[key])
    content = sealed.objects[f"packs/{pack}.pack"]
    one, two, *_ = found.records.values()
    moved = content[two.offset : two.offset + two.room] + content[one.offset : one.offset + one.room]
    swapped = {**found.records, one.digest: one._replace(tag=two.tag), two.digest: two._replace(tag=one.tag)}
    sealed.refused({f"packs/{pack}.pack": moved + content[len(moved) :]})
    sealed.refused({f"packs/{pack}.pack": moved + content[len(moved) :], key: index.dump_index(replace(found, records=swapped))})
    names = [one._replace(digest=two.digest), two._replace(digest=one.digest)]
    others = {record.digest: record for record in found.records.values() if record.digest not in (one.digest, two.digest)}
    renamed = {record.digest: record for record in names} | others
    sealed.refused({key: index.dump_index(replace(found, records=renamed))})


def test_a_pack_cannot_take_the_name_of_another(sealed):
    key = next(key for key in sealed.objects if key.endswith(".index"))
    pack, other = key.removeprefix("packs/").removesuffix(".index"), "f" * 32
    found = replace(index.parse_index(pack, sealed.objects[key]), pack=other)
    changes = {f"packs/{other}.pack": sealed.objects[f"packs/{pack}.pack"], f"packs/{other}.index": index.dump_index(found)}
    sealed.refused(changes | {f"packs/{pack}.pack": b"", key: b""})


def test_keys_have_names_that_do_not_tell_them():
    assert len(name_of(FIRST)) == 32
    assert name_of(FIRST) != name_of(SECOND)
    assert FIRST.hex()[:8] not in name_of(FIRST)
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring(b"short")


@pytest.mark.parametrize("server", ["oci", "s3-seaweedfs"])
def test_a_sealed_store_elsewhere_and_a_cache_of_it(at, capture, servers, server, tmp_path):
    from chrek_agent.store.cached import PieceCache

    backend = getattr(servers, server.replace("-", "_"))()
    store = at(FIRST, backend=backend, compress=True)
    manifest, digest = capture(store)
    cached = Store(backend, tmp_path / "s", cache=PieceCache(tmp_path / "cache", 64 << 20), protection=store.protection)
    assert read(store, digest) == read(cached, digest) == read(cached, digest) == [CONTENT]
    assert cached.cache.size > 2 * PAGE
    assert store.verify(HASH, "g-1", digest) == manifest
    found = [*objects(store).values(), *(path.read_bytes() for path in Path(tmp_path / "cache").rglob("*") if path.is_file())]
    assert not any(SECRET in content or TEXT[:64] in content for content in found)
    with pytest.raises(KeyMissingError):
        at(SECOND, backend=backend).open(HASH, "g-1", digest)


@pytest.mark.parametrize(("keys", "others"), [((FIRST,), (SECOND,)), ((FIRST,), ()), ((), (FIRST,))])
def test_a_copy_is_sealed_as_its_store_is(at, capture, keys, others):
    source, target = at(*keys), at(*others, base="target")
    manifest, digest = capture(source)
    assert copy(source, target, HASH, "g-1", digest).manifest == manifest
    assert read(target, digest) == [CONTENT]
    assert {found.key for found in indexes(target).values()} == {target.protection.keys.current}


def test_what_was_sealed_elsewhere_is_damage_where_the_key_is_there(at, capture):
    store = at(FIRST)
    _, digest = capture(store)
    pack = next((store.backend.base / "packs").glob("*.pack"))
    content = bytearray(pack.read_bytes())
    content[0] ^= 1
    pack.write_bytes(content)
    with pytest.raises(ArtifactError, match="it is not what was sealed there"):
        store.verify(HASH, "g-1", digest)
    assert [entry.key for entry in store.backend.list("tombstones/")] == [f"tombstones/{pack.stem}"]
